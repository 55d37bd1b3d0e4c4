"""Jobs on a Ray cluster: over several nodes, and when a node is lost."""

import pytest
from launching import SMALL, parent, start, trainer_of, wait_for
from runs import fingerprint, train_in

from ostinato.run_dir import RunDir, read_json

pytest.importorskip("hydra_plugins.hydra_ray_launcher")
pytestmark = pytest.mark.proof

RUN = ("training.epochs=10", "training.accumulate=5")
JOBS = ("-m", "launcher=ray", *SMALL, *RUN, "training.eval_every=4")


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # other tests would come first
    monkeypatch.delenv("OMP_NUM_THREADS")  # Ray sets it
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    cluster.shutdown()


def test_jobs_over_two_nodes_lose_one_and_compute_the_same(cluster, tmp_path):
    nodes = [cluster.add_node(num_cpus=number) for number in (1, 2)]
    sweep = start(
        tmp_path,
        *(*JOBS, "training.processes=3", "seed=1,2", "training.threads=null"),
        f"hydra.launcher.ray.init.address={cluster.address}",
        # Ray's processes have another working folder.
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        OMP_NUM_THREADS=None,
    )
    first = wait_for(lambda: in_training(tmp_path), sweep)
    lost = node_of(first, nodes)
    cluster.remove_node(lost, allow_graceful=False)
    wait_for(lambda: "waits for nodes" in first.log.read_text(), sweep)
    nodes.remove(lost)
    nodes.append(cluster.add_node(num_cpus=2))

    second = wait_for(lambda: in_training(tmp_path, first), sweep)
    nodes.append(cluster.add_node(num_cpus=2))
    (lost,) = (node for node in nodes[:2] if node != node_of(second, nodes))
    cluster.remove_node(lost, allow_graceful=False)
    output, _ = sweep.communicate(timeout=500)

    assert sweep.returncode == 0, output
    for run in (first, second):
        assert run.log.read_text().count("resuming at step") == 1
        provenance = read_json(run.provenance)
        assert provenance["processes"]["count"] == 3
        assert provenance["threads"] == 1  # Ray gives a process as many as CPUs
        seed = read_json(run.results)["config"]["seed"]
        alone = train_in(
            tmp_path / str(seed), *RUN, f"seed={seed}", "training.threads=1"
        )
        assert fingerprint(run) == fingerprint(alone)


def in_training(folder, *others) -> RunDir | None:
    """A job that has a checkpoint and still trains."""
    for saved in folder.glob("sweep/*/checkpoints/step_*"):
        run = RunDir(saved.parents[1])
        if run.path not in [other.path for other in others] and trainer_of(run.path):
            return run
    return None


def node_of(run, nodes):
    """The node on which process 0 of a run trains."""
    raylet = parent(parent(parent(trainer_of(run.path))))
    (node,) = (
        node for node in nodes if node.all_processes["raylet"][0].process.pid == raylet
    )
    return node


def test_a_job_that_the_cluster_has_no_room_for_ends_with_one_line(tmp_path):
    big = ("training.processes=2", "ray.cpus_per_process=1000", "seed=1")
    sweep = start(tmp_path, *JOBS, *big)
    output, _ = sweep.communicate(timeout=500)
    assert sweep.returncode == 1, output
    (results,) = tmp_path.glob("outputs/multirun/*/*/results.json")
    assert "has room for 0 processes" in read_json(results)["error"]
