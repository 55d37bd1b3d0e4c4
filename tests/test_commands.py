"""The commands crash_test and benchmark, on small runs. docs/ quotes their results."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from preloaded import python

ROOT = Path(__file__).parents[1]
DEBUG = (
    '["experiment=debug","data.limit_train=60","data.limit_val=30",'
    '"data.limit_test=30","training.checkpoint_every=3"]'
)


def command(script, *arguments, cwd):
    return subprocess.run(
        [python(), str(ROOT / "scripts" / f"{script}.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.proof
@pytest.mark.slow
def test_killed_runs_end_identical_to_the_undisturbed_run(tmp_path):
    done = command(
        "crash_test", "kills=2", f"overrides={DEBUG}", "output=crash", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "2 of 2 identical"
    kept = [path.name for path in (tmp_path / "crash").iterdir() if path.is_dir()]
    assert kept == ["undisturbed"]


@pytest.mark.slow
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
