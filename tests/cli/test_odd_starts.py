"""Commands with odd arguments, folders, streams and files end without a traceback."""

import os
import subprocess
from pathlib import Path

import pytest
from preloaded import python

from ostinato.cli import command
from ostinato.cli.arguments import quote_existing_path
from ostinato.cli.composition import hydra_composition, parse
from ostinato.errors import ConfigError

ROOT = Path(__file__).parents[2]


def shell(arguments, cwd, **environment):
    command = f"{python()} {ROOT}/scripts/train.py {arguments}"
    environment = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "stderr"),
    [
        # Flags anywhere among the overrides.
        ("seed=3 --cfg job experiment=debug", 0, ""),
        (
            "--cfg job training=nosuch",
            2,
            "training=nosuch: unknown training; the options are default\n",
        ),
        ("--cfg job data=files", 0, ""),  # shows what is missing
        # Folders that no run can be written to.
        (
            "experiment=debug hydra.run.dir=file",
            2,
            "hydra.run.dir=file: is not a folder",
        ),
        pytest.param(
            "resume=nowhere",
            2,
            "resume=nowhere: not a run folder",
            marks=pytest.mark.proof,
        ),
        pytest.param(
            "'resume=a,(b'", 2, "resume=a,(b: not a run folder", marks=pytest.mark.proof
        ),
        pytest.param(
            "--config-dir=/nowhere",
            2,
            "Additional config directory",
            marks=pytest.mark.proof,
        ),
        pytest.param("sweep=resume -m", 2, "sweep=resume: ", marks=pytest.mark.proof),
        # Closed streams, and a reader that has exited.
        pytest.param("training=nosuch 2>&-", 2, "", marks=pytest.mark.proof),
        pytest.param("--help >&-", 0, "", marks=pytest.mark.proof),
        pytest.param("--help > >(true); sleep 1", 0, "", marks=pytest.mark.proof),
    ],
)
def test_an_odd_command_ends_without_a_traceback(arguments, code, stderr, tmp_path):
    (tmp_path / "file").write_text("")
    done = shell(arguments, tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(stderr)
    assert len(done.stderr.splitlines()) == (1 if stderr else 0)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.parametrize("content", [b"NAME=\xff\xfe", None])
def test_an_environment_file_that_cannot_be_read_is_reported_in_one_line(
    content, tmp_path, monkeypatch
):
    file = tmp_path / ".env"
    monkeypatch.setattr(command, "CONF", tmp_path / "conf")
    if content is None:
        file.mkdir()
        command.load_environment_file()  # python-dotenv ignores a folder
        return
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="save it in UTF-8, or remove it"):
        command.load_environment_file()


def test_a_path_that_exists_needs_no_quotes(tmp_path):
    folder = tmp_path / "it's, [b] {c} = ~(d)"
    folder.mkdir()
    quoted = quote_existing_path(f"run={folder}")
    with hydra_composition():
        assert parse(quoted).value() == str(folder)

    sweep_over_files = "data.train_path=a.csv,b.csv"
    assert quote_existing_path(sweep_over_files) == sweep_over_files
    not_a_path = f"seed={folder}"
    assert quote_existing_path(not_a_path) == not_a_path
