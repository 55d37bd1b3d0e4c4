"""A sweep on a Ray cluster that loses a node."""

import time

import pytest
from launching import SMALL, parent, start, trainer_of
from runs import fingerprint, train_in

from ostinato.run_dir import RunDir, read_json

pytest.importorskip("hydra_plugins.hydra_ray_launcher")

RUN = ("training.epochs=10", "training.accumulate=5")


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # other tests would come first
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


@pytest.mark.proof
def test_a_sweep_completes_if_a_node_is_lost_while_its_job_trains(cluster, tmp_path):
    nodes = [cluster.add_node(num_cpus=3) for _ in range(2)]
    sweep = start(
        tmp_path,
        *("-m", "launcher=ray", *SMALL, *RUN, "training.eval_every=4"),
        *("training.processes=3", "seed=1,2", "training.threads=null"),
        f"hydra.launcher.ray.init.address={cluster.address}",
        # Ray's processes have another working folder.
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        OMP_NUM_THREADS=None,
    )
    deadline = time.monotonic() + 500
    while not (saved := list(tmp_path.glob("sweep/*/checkpoints/step_*"))):
        assert sweep.poll() is None, sweep.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lost = RunDir(saved[0].parents[1])
    server = parent(trainer_of(lost.path))
    raylet = parent(parent(server))
    (node,) = (node for node in nodes if raylet_of(node) == raylet)
    cluster.remove_node(node, allow_graceful=False)
    output, _ = sweep.communicate(timeout=500)

    assert sweep.returncode == 0, output
    assert "resuming at step" in lost.log.read_text()
    runs = [RunDir(job) for job in sorted(tmp_path.glob("sweep/*_*"))]
    assert len(runs) == 2
    for seed, run in enumerate(runs, start=1):
        provenance = read_json(run.provenance)
        assert provenance["processes"]["count"] == 3
        assert provenance["threads"] == 1  # Ray gives a job as many as CPUs
        alone = train_in(
            tmp_path / str(seed), *RUN, f"seed={seed}", "training.threads=1"
        )
        assert fingerprint(run) == fingerprint(alone)


def raylet_of(node) -> int:
    return node.all_processes["raylet"][0].process.pid
