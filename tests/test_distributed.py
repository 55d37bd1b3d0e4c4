"""The number of processes decides no bit of a training.

With two processes an error in the order of a sum cannot show, because a + b = b + a.
These tests use three and more.
"""

import hashlib

import pytest
from runs import fingerprint, resume, train_in

ONE_ROUND = "training.accumulate=3"
UNEQUAL_ROUNDS = "training.accumulate=5"
CASES = {
    "one round": [ONE_ROUND],
    "fewer rows than micro-batches in the last step": [
        *(UNEQUAL_ROUNDS, "training.batch_size=14", "data.limit_train=60"),
    ],
    "a budget of tokens": [UNEQUAL_ROUNDS, "training.tokens_per_batch=100"],
    "class weights": [
        *(UNEQUAL_ROUNDS, "training.class_weights=balanced"),
        "training.label_smoothing=0.1",
    ],
    "multi-label": [UNEQUAL_ROUNDS, "data.task=multi_label"],
    "regression": [UNEQUAL_ROUNDS, "data.task=regression"],
    "bf16": [UNEQUAL_ROUNDS, "training.precision=bf16"],
    "bucketed": [UNEQUAL_ROUNDS, "training.batching=bucketed"],
    "random batches without clipping": [
        *(UNEQUAL_ROUNDS, "training.batching=random", "training.max_grad_norm=null"),
    ],
    "rates by layer": [
        *(UNEQUAL_ROUNDS, "training.head_lr=1e-2", "training.layer_lr_decay=0.5"),
    ],
    "decoder": [
        *(UNEQUAL_ROUNDS, "model.architecture.model_type=llama"),
        *("+model.architecture.num_key_value_heads=1", "model.attention_dropout=0.1"),
        "training.gradient_checkpointing=true",
    ],
    "pairs of texts": [UNEQUAL_ROUNDS, "data.text_pair_column=text_pair"],
    "focal loss": [
        *(UNEQUAL_ROUNDS, "training.loss=focal", "training.class_weights=sqrt"),
    ],
    "weights of label sets": [
        *(UNEQUAL_ROUNDS, "data.task=multi_label", "training.pos_weight=balanced"),
    ],
    "frozen layers": [UNEQUAL_ROUNDS, "model.freeze=1"],
    "an adapter": [
        *(UNEQUAL_ROUNDS, "model/adapter=dora", "model.adapter.dropout=0.1"),
        "training.head_lr=1e-2",
    ],
    "averaged weights": [UNEQUAL_ROUNDS, "training.ema_decay=0.5"],
    "early stopping": [UNEQUAL_ROUNDS, "training.early_stopping.patience=1"],
}
QUICK = ("decoder",)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("preloaded_fork_server")]


def proof(value):
    """A case for `make proof` only."""
    return pytest.param(value, marks=pytest.mark.proof)


def train(folder, processes, *overrides):
    """Trains with a number of processes.

    Returns:
        The fingerprint, and digests of the files that hold numbers.
    """
    run = train_in(folder, f"training.processes={processes}", *overrides)
    files = [run.steps, run.best_weights, run.predictions("val")]
    if run.predictions("test").is_file():
        files.append(run.predictions("test"))
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    return fingerprint(run), digests


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one process computes."""
    return train(tmp_path_factory.mktemp("one") / "run", 1, UNEQUAL_ROUNDS)


@pytest.mark.parametrize("processes", [proof(2), 3, proof(4), proof(5)])
def test_every_number_of_processes_gives_the_same_files(processes, one, tmp_path):
    found = train(tmp_path / "run", processes, UNEQUAL_ROUNDS)

    assert found == one


@pytest.mark.parametrize(
    "name", [name if name in QUICK else proof(name) for name in CASES]
)
def test_three_processes_compute_what_one_computes(name, tmp_path):
    one = train(tmp_path / "one", 1, *CASES[name])
    three = train(tmp_path / "three", 3, *CASES[name])

    assert three == one


@pytest.mark.proof
def test_divided_moments_change_no_bit_and_resume_undivided(one, tmp_path):
    options = (UNEQUAL_ROUNDS, "training.checkpoint_every=2")
    divided = "training.shard_optimizer=true"
    processes = ("training.processes=3", divided)
    run = train_in(tmp_path / "run", *processes, *options, until_step=4)

    again = ("training.processes=4", divided, f"resume.run={run.path}")
    train_in(run.path, *again, *options, until_step=6)
    resume(run, *options)

    assert fingerprint(run) == one[0]


@pytest.mark.proof
def test_divided_moments_of_an_adapter_change_no_bit(tmp_path):
    options = (UNEQUAL_ROUNDS, "model/adapter=lora", "model.adapter.dropout=0.1")
    one = train(tmp_path / "one", 1, *options)

    divided = train(tmp_path / "run", 3, *options, "training.shard_optimizer=true")

    assert divided == one


def test_a_run_resumes_with_another_number_of_processes(one, tmp_path):
    options = (UNEQUAL_ROUNDS, "training.checkpoint_every=1")
    run = train_in(tmp_path / "run", "training.processes=4", *options, until_step=3)

    run = resume(run, "training.processes=3", *options)

    assert fingerprint(run) == one[0]


@pytest.mark.proof
def test_a_pretrained_model_on_real_texts(tmp_path):
    options = (
        *("model=minilm", "data=reuters_r8", "training.accumulate=8"),
        *("data.limit_train=96", "data.limit_val=50", "data.limit_test=50"),
        "training.batch_size=32",
    )
    one = train(tmp_path / "1", 1, *options)

    for processes in (2, 4):
        assert train(tmp_path / str(processes), processes, *options) == one
