"""Scores splits with the best weights of a finished run, as at training time: weights, batches, flags."""

from ostinato.config import Device, Precision, RunConfig, Task, TrainingConfig
from ostinato.data.splits import Split
from ostinato.data.tokenise import TokenisedSplit, tokenise
from ostinato.errors import ConfigError
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.device import Compute, check_cores, choose, set_threads
from ostinato.model.dropout import Masks
from ostinato.model.padding import check_rows
from ostinato.model.trained import load_trained
from ostinato.progress import progress_bar
from ostinato.record.files import read_provenance
from ostinato.run_dir import RunDir
from ostinato.scoring.evaluation import Evaluated, Scorer
from ostinato.seeding import set_determinism


class Rescorer:
    """The weights in a run's `best/`, ready to score.

    Args:
        run: the run's folder.
        config: its config.
        device: auto takes the run's.
        batch_size: rows per batch; None takes the run's. Another number moves metrics in the last digits.
        precision: auto takes the run's.

    Attributes:
        labels: names of the classes by number; empty for regression.

    Raises:
        ConfigError: no trained model, or a precision that the device does not have.
    """

    def __init__(
        self,
        run: RunDir,
        config: RunConfig,
        device: Device = Device.auto,
        batch_size: int | None = None,
        precision: Precision = Precision.auto,
    ) -> None:
        training = config.training
        set_threads(training.threads)
        check_cores("data.num_workers", config.data.num_workers)
        set_determinism(training.determinism)
        model, self._tokenizer = load_trained(run, config.model.attention)
        self._config = config
        self._batch_size = batch_size or training.eval_batch_size
        chosen = device if device is not Device.auto else training.device
        self._compute = _compute(
            chosen,
            precision if precision is not Precision.auto else _recorded(run, training),
        )
        self._model = model.to(self._compute.device)
        autocast = self._compute.autocast
        configure_batching(
            self._model, self._tokenizer, training.batching, Masks(), autocast=autocast
        )
        self._collator = collator_of(self._model, self._tokenizer)
        self.labels = (
            tuple(model.config.id2label.values())
            if config.data.task is not Task.regression
            else ()
        )

    def score(self, split: Split) -> tuple[Evaluated, TokenisedSplit]:
        """Scores rows; returns what they are worth, and the rows as the model reads them."""
        rows = tokenise(
            split,
            self._tokenizer,
            self._config.model.max_length,
            self._config.data.num_workers,
        )
        check_rows(self._model, rows.input_ids(), rows.lengths, split.name)
        with progress_bar() as bar:
            task = self._config.data.task
            scorer = Scorer(
                task, self.labels, self._collator, self._batch_size, self._compute, bar
            )
            return scorer.score(self._model, rows), rows


def _recorded(run: RunDir, training: TrainingConfig) -> Precision:
    """The precision that the run computed in, where its config leaves it to the machine."""
    if training.precision is not Precision.auto or not run.provenance.is_file():
        return training.precision
    recorded = read_provenance(run).get("precision")
    return Precision(recorded) if recorded in list(Precision) else training.precision


def _compute(device: Device, precision: Precision) -> Compute:
    compute = choose(device, Precision.fp32)
    if precision is Precision.fp16 and compute.device.type != "cuda":
        raise ConfigError(
            [
                f"precision=fp16: needs a CUDA GPU, not {compute.device.type}; take precision=fp32"
            ]
        )
    return choose(device, precision)
