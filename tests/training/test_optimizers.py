"""Adafactor is that of torch, and resumes and divides among processes bit for bit."""

import pytest
import torch
from closeness import assert_all_close
from families import tiny_bert
from runs import configure, fingerprint, resume, train_in, train_until_killed
from torch.optim import Adafactor

from ostinato.cli import composition
from ostinato.cli.mistakes import find_problems
from ostinato.comparison.groups import group_by_configuration
from ostinato.comparison.runs import find_runs
from ostinato.config import Device, Precision, Task, TrainingConfig
from ostinato.data.collate import Batch, Collator
from ostinato.errors import ResumeRefused
from ostinato.model.device import choose
from ostinato.run_dir import RunDir, read_config, write_config
from ostinato.training.gradient_sum import OneProcess
from ostinato.training.loss import Loss
from ostinato.training.moments import moment_shapes
from ostinato.training.optim import build_optimizer, set_lr
from ostinato.training.step import Learner, StepPlan, gradient_scaler, train_step

ADAFACTOR = ("training/optimizer=adafactor",)
OWN = {"name": "adafactor", "beta2_decay": -0.6, "d": 2.0, "eps1": 1e-6, "eps2": 1e-2}


def tiny():
    torch.manual_seed(0)
    return tiny_bert(hidden_dropout_prob=0, attention_probs_dropout_prob=0)


def batch(number):
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(3, 50, (8, 5), generator=generator).tolist()
    labels = torch.randint(3, (8,), generator=generator)
    return Batch(Collator(0).inputs({"input_ids": ids}), labels, 40)


@pytest.mark.parametrize(
    ("own", "options"),
    [
        ({"name": "adafactor"}, {}),
        (
            OWN,
            {"beta2_decay": -0.6, "d": 2.0, "eps": (1e-6, 1e-2)},
        ),
    ],
)
def test_steps_equal_those_of_a_plain_loop_with_the_optimizer_of_torch(own, options):
    cfg = TrainingConfig(lr=1e-2, weight_decay=0.1, optimizer=own)
    mine, plain = tiny(), tiny()
    compute = choose(Device.cpu, Precision.fp32)
    learner = Learner(
        model=mine,
        loss=Loss(Task.single_label),
        optimizer=build_optimizer(mine, cfg),
        scaler=gradient_scaler(compute),
        compute=compute,
        max_grad_norm=None,
        gradients=OneProcess(),
    )
    matrices = [p for p in plain.parameters() if p.ndim > 1]
    vectors = [p for p in plain.parameters() if p.ndim < 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0}]
    reference = Adafactor(groups, lr=1e-2, weight_decay=0.1, **options)
    for number, factor in enumerate((0.5, 1.0, 0.25)):
        set_lr(learner.optimizer, factor)
        plan = StepPlan.of([batch(number)], learner.loss)
        train_step(learner, plan, lambda number: None)

        for group in reference.param_groups:
            group["lr"] = 1e-2 * factor
        whole = batch(number)
        plain(**whole.inputs, labels=whole.labels).loss.backward()
        reference.step()
        reference.zero_grad()
    assert_all_close(mine.state_dict(), plain.state_dict())


def test_the_moments_have_the_shapes_that_are_named():
    for own in ({"name": "adafactor"}, {"name": "adamw"}):
        model = tiny()
        optimizer = build_optimizer(model, TrainingConfig(optimizer=own))
        whole = batch(0)
        model(**whole.inputs, labels=whole.labels).loss.backward()
        optimizer.step()
        for parameter, state in optimizer.state.items():
            found = {name: tensor.shape for name, tensor in state.items()}
            assert found.pop("step") == torch.Size()
            assert found == moment_shapes(optimizer, parameter)


def problems(*overrides):
    composition.register_schemas()
    return find_problems("train", list(overrides), multirun=False)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            [*ADAFACTOR, "training.shard_optimizer=true"],
            "training.shard_optimizer=true: is not possible with adafactor",
        ),
        (
            [*ADAFACTOR, "training.betas=[0.9,0.99]"],
            "training.betas: only for training/optimizer=adamw; omit it",
        ),
        (
            [*ADAFACTOR, "training.eps=1e-6"],
            "training.eps: only for training/optimizer=adamw; omit it",
        ),
        (
            ["training.optimizer.d=2"],
            "training.optimizer.d: only for training/optimizer=adafactor; omit it",
        ),
        ([*ADAFACTOR, "training.optimizer.d=0.5"], "training.optimizer.d=0.5: must be"),
        (
            ["training.optimizer.name=sgd"],
            "training.optimizer.name=sgd: ",
        ),
    ],
)
def test_an_option_of_another_optimizer_is_refused_in_one_line(overrides, problem):
    (line,) = problems("experiment=debug", *overrides)
    assert line.startswith(problem)


def test_an_unknown_optimizer_is_refused_with_the_options():
    (line,) = problems("training/optimizer=adafctor")
    assert "did you mean adafactor?; the options are adafactor, adamw" in line


def test_a_group_is_not_a_value():
    (line,) = problems("training.optimizer=adafactor")
    assert "training/optimizer=adafactor" in line


def test_adamw_is_the_default():
    assert configure() == configure("training/optimizer=adamw")


# --- runs

OPTIONS = (
    *ADAFACTOR,
    *("training.accumulate=5", "training.batch_size=14"),
    *("training.head_lr=2e-2", "training.layer_lr_decay=0.5"),
    "training.checkpoint_every=1",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_in(tmp_path_factory.mktemp("whole") / "run", *OPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, pytest.param(6, marks=pytest.mark.proof)])
def test_a_kill_does_not_change_the_result(whole, step, tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    train_until_killed(monkeypatch, step, run.path, *OPTIONS)
    assert fingerprint(resume(run, *OPTIONS)) == fingerprint(whole)


@pytest.mark.proof
@pytest.mark.usefixtures("preloaded_fork_server")
def test_three_processes_compute_what_one_computes_and_resume(whole, tmp_path):
    run = train_in(tmp_path, "training.processes=3", *OPTIONS, until_step=3)
    run = resume(run, "training.processes=3", *OPTIONS)
    assert fingerprint(run) == fingerprint(whole)
    assert run.best_weights.read_bytes() == whole.best_weights.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_moments_of_another_optimizer_are_refused(optimizer, tmp_path):
    other = {"adamw": "adafactor", "adafactor": "adamw"}[optimizer]
    options = ("training.max_steps=4", "resume.allow_drift=true")
    run = train_in(tmp_path, f"training/optimizer={optimizer}", options[0])
    with pytest.raises(ResumeRefused, match=r"training\.optimizer"):
        resume(run, f"training/optimizer={other}", options[0])
    with pytest.raises(ResumeRefused, match="has moments of another optimizer"):
        resume(run, f"training/optimizer={other}", *options)


@pytest.mark.slow
def test_a_comparison_names_the_optimizers(tmp_path):
    for optimizer in ("adamw", "adafactor"):
        options = ("training.max_steps=4", f"training/optimizer={optimizer}")
        train_in(tmp_path / optimizer, *options)
    runs = find_runs([str(tmp_path / "adamw"), str(tmp_path / "adafactor")])
    names = list(group_by_configuration(runs))
    assert names == [
        "training.optimizer.name=adamw",
        "training.optimizer.name=adafactor",
    ]


@pytest.mark.slow
def test_a_run_of_an_earlier_version_resumes(tmp_path, monkeypatch):
    whole = train_in(tmp_path / "whole")
    run = RunDir(tmp_path / "run")
    train_until_killed(monkeypatch, 6, run.path)
    config = read_config(run)
    del config["training"]["optimizer"], config["data"]["weight_column"]
    del config["data"]["label_distribution"]
    write_config(run, config)
    assert fingerprint(resume(run)) == fingerprint(whole)
