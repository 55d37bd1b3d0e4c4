"""The commands crash_test and benchmark, on small runs. docs/ quotes their results."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from preloaded import python

from ostinato.config import CrashTestConfig
from ostinato.proof.crash_test import crash_test

ROOT = Path(__file__).parents[1]
DEBUG = (
    '["experiment=debug","data.limit_train=60","data.limit_val=30",'
    '"data.limit_test=30","training.checkpoint_every=3"]'
)


def command(script, *arguments, cwd, timeout=300):
    return subprocess.run(
        [python(), str(ROOT / "scripts" / f"{script}.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "processes", "more"),
    [(2, "[1]", ""), (3, "[4,3,1]", ',"training.accumulate=4","training.threads=1"')],
)
def test_killed_runs_end_identical_to_the_undisturbed_run(
    kills, processes, more, tmp_path
):
    overrides = f"{DEBUG[:-1]}{more}]"
    done = command(
        "crash_test",
        f"kills={kills}",
        f"processes={processes}",
        f"overrides={overrides}",
        "output=crash",
        cwd=tmp_path,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{kills} of {kills} identical"
    kept = [path.name for path in (tmp_path / "crash").iterdir() if path.is_dir()]
    assert kept == ["undisturbed"]


@pytest.mark.proof
@pytest.mark.slow
def test_a_killed_run_of_several_processes_names_who_was_killed(tmp_path):
    """The kill waits for a checkpoint, so all processes have started."""
    train = ROOT / "scripts" / "train.py"
    overrides = [*json.loads(DEBUG), "training.accumulate=3", "training.threads=1"]
    cfg = CrashTestConfig(
        kills=2, processes=[3, 2], overrides=overrides, output=str(tmp_path / "crash")
    )
    kills = list(crash_test(cfg, train))
    assert [kill.difference for kill in kills] == ["", ""]
    assert "while writing a checkpoint" in kills[1].where
    assert kills[1].where.endswith("all processes of 3")


@pytest.mark.proof
def test_the_benchmark_compares_training_with_a_bare_loop_and_a_peer(tmp_path):
    peer = tmp_path / "peer.py"
    peer.write_text(
        "import json, sys\n"
        "rate = 100.0 + sys.argv.count('--quick')\n"
        "print(json.dumps({'tokens_per_s': rate}))\n"
    )
    options = [
        f"peer={peer}",
        "peer_options=[--quick]",
        "steps=2",
        "turns=1",
        "output=metrics.json",
    ]
    done = command("benchmark", f"overrides={DEBUG}", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(done.stdout)
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["times_the_peer"] == pytest.approx(metrics["tokens_per_s"] / 101)
    assert metrics["overhead"] == pytest.approx(
        metrics["bare_tokens_per_s"] / metrics["tokens_per_s"] - 1
    )
    assert 0 < metrics["share_of_ceiling"] < 1
    assert 0 < metrics["share_of_batches"] < 1


@pytest.mark.proof
@pytest.mark.parametrize(
    ("mode", "metric"),
    [
        ("tokenisation", "tokens_per_s"),
        ("checkpoint", "stall_s"),
        ("determinism", "cost"),
        ("memory", "rows"),
        ("processes", "processes"),
    ],
)
@pytest.mark.slow
def test_the_benchmark_has_a_mode_for(mode, metric, tmp_path):
    done = command(
        "benchmark",
        f"mode={mode}",
        f'overrides={DEBUG[:-1]},"training.accumulate=2"]',
        "steps=2",
        "turns=1",
        "rows=[200]",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert metric in json.loads(done.stdout)
