"""A job of a sweep is identified by the values, files and weights that it uses."""

from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ostinato.cli.composition import (
    compose_command,
    hydra_composition,
    job_folder,
    register_schemas,
)
from ostinato.config import (
    ComparisonConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    Source,
    TrainingConfig,
)
from ostinato.sweep import jobs

NOWHERE = Path("/nowhere")
PLAIN = RunConfig(model=ModelConfig(name="org/model"))


def key(config):
    return jobs.job_folder(NOWHERE, "0", config)


def with_files(path):
    return replace(PLAIN, data=DataConfig(source=Source.files, train_path=str(path)))


def test_a_key_that_only_observes_gives_the_same_job(tmp_path):
    for same in (
        replace(PLAIN, name="other"),
        replace(PLAIN, compare=ComparisonConfig(margin=1)),
        replace(PLAIN, training=TrainingConfig(log_every=1)),
        replace(PLAIN, training=TrainingConfig(process_timeout=9)),
    ):
        assert key(same) == key(PLAIN)
    parts = replace(PLAIN, training=TrainingConfig(accumulate=3))
    dealt = replace(PLAIN, training=TrainingConfig(accumulate=3, processes=3))
    assert key(dealt) == key(parts) != key(PLAIN)
    assert key(replace(PLAIN, training=TrainingConfig(lr=2e-3))) != key(PLAIN)
    (tmp_path / key(PLAIN)).mkdir()
    # Another number, but the same job.
    assert jobs.job_folder(tmp_path, "7", PLAIN) == key(PLAIN)


@pytest.mark.slow
def test_another_value_of_an_environment_variable_gives_another_job(
    tmp_path, monkeypatch
):
    register_schemas()

    def folder(place):
        monkeypatch.setenv("DATA", str(place))
        with hydra_composition():
            cfg = compose_command(
                "train", ["data=files", "data.train_path=${oc.env:DATA}/train.csv"]
            )
            OmegaConf.set_struct(cfg, False)
            cfg.hydra = {"sweep": {"dir": str(NOWHERE)}}
            return job_folder("0", _root_=cfg)

    first, second = (tmp_path / "s3cret", tmp_path / "b")
    assert folder(first) != folder(second)
    assert folder(first) == folder(first)
    assert "s3cret" not in folder(first)


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("train.csv", "train.csv"),
        ("train[1].csv", "train[1].csv"),
        ("a*b?.csv", "a*b?.csv"),
        ("train.csv", "*.csv"),
        ("sub/train.csv", "**/*.csv"),
    ],
)
def test_other_content_of_a_data_file_gives_another_job(file, path, tmp_path):
    data = tmp_path / file
    data.parent.mkdir(exist_ok=True)
    data.write_text("text,label\na,b\n")
    before = key(with_files(tmp_path / path))
    assert key(with_files(tmp_path / path)) == before
    data.write_text("text,label\na,c\n")
    assert key(with_files(tmp_path / path)) != before


def test_a_file_that_the_run_does_not_read_gives_the_same_job(tmp_path):
    (tmp_path / "train[1].csv").write_text("text,label\na,b\n")
    before = key(with_files(tmp_path / "train[1].csv"))
    # The name as a glob would match this file.
    (tmp_path / "train1.csv").write_text("text,label\na,c\n")
    assert key(with_files(tmp_path / "train[1].csv")) == before


FILES = ("config.json", "model.safetensors", "tokenizer.json", "parts/1.safetensors")
NO_FILES = ("README.md", ".git/index", ".cache/huggingface/x.json")


@pytest.mark.parametrize("changed", FILES)
def test_other_files_of_a_local_model_give_another_job(changed, tmp_path):
    for name in (*FILES, *NO_FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    local = replace(PLAIN, model=ModelConfig(name=str(tmp_path)))
    before = key(local)
    for name in NO_FILES:
        (tmp_path / name).write_text("another text")
    assert key(local) == before
    (tmp_path / changed).write_text("x" * len(changed))
    assert key(local) != before


def test_other_files_of_a_local_data_set_give_another_job(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("text,label\na,b\n")
    folder = replace(PLAIN, data=DataConfig(source=Source.hub, name=str(tmp_path)))
    before = key(folder)
    (tmp_path / "data" / "train.csv").write_text("text,label\na,c\n")
    assert key(folder) != before


def test_an_unchanged_file_is_read_once(tmp_path):
    data = tmp_path / "train.csv"
    data.write_text("text,label\na,b\n")
    jobs._file_digest.cache_clear()
    for _ in range(3):
        key(with_files(data))
    assert jobs._file_digest.cache_info().misses == 1


@pytest.mark.parametrize("name", ["~nouser/model", "x" * 5000, "nul\0"])
def test_a_name_that_cannot_be_a_path_still_identifies_a_job(name):
    assert key(replace(PLAIN, model=ModelConfig(name=name))) != key(PLAIN)
    assert key(with_files(name)) != key(PLAIN)
