"""Scores splits with the best weights of a finished run.

Batches, flags and precision are those of the training, unless the caller changes them.
"""

from rich.progress import Progress

from ostinato.config import Device, Precision, RunConfig, Task, TrainingConfig
from ostinato.data.collate import TokenLists
from ostinato.data.long_texts import LongTexts
from ostinato.data.splits import Split
from ostinato.data.tokenise import tokenise
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.errors import ConfigError
from ostinato.model.collators import collator_of, configure_batching
from ostinato.model.device import Compute, check_cores, choose, set_threads
from ostinato.model.dropout import Masks
from ostinato.model.frozen_dtype import store_matrices
from ostinato.model.padding import check_rows
from ostinato.model.trained import load_trained
from ostinato.progress import progress_bar
from ostinato.record.files import read_provenance
from ostinato.run_dir import RunDir
from ostinato.scoring.arrays import Logits
from ostinato.scoring.evaluation import Evaluated, NoSharing, Scorer, Sharing
from ostinato.seeding import set_determinism


class Rescorer:
    """The model in a run's `best/`, ready to score splits.

    Args:
        run: the run folder.
        config: the config of the run.
        device: auto takes the device of the run.
        batch_size: rows per batch; None takes that of the run. Another batch size
            changes the last digits of the metrics.
        precision: auto takes the precision of the run.

    Attributes:
        labels: names of the classes by number; empty for regression.

    Raises:
        ConfigError: if the run has no trained model, or the device does not support
            the precision.
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
        if device is Device.auto:
            device = training.device
        set_threads(training.threads)
        check_cores("data.num_workers", config.data.num_workers)
        set_determinism(training.determinism)
        model, self._tokenizer = load_trained(run, config)
        if precision is Precision.auto:
            precision = _recorded_precision(run, training)
        self._config = config
        self._batch_size = batch_size or training.eval_batch_size
        self._compute = _compute(device, precision)
        self._model = model.to(self._compute.device)
        configure_batching(
            self._model,
            self._tokenizer,
            training.batching,
            Masks(),
            autocast=self._compute.autocast,
        )
        store_matrices(self._model, config.model.dtype, self._compute.precision)
        self._collator = collator_of(self._model, self._tokenizer)
        self.labels: tuple[str, ...] = ()
        if config.data.task is not Task.regression:
            self.labels = tuple(model.config.id2label.values())

    def score(
        self, split: Split, sharing: Sharing | None = None
    ) -> tuple[Evaluated, TokenisedSplit]:
        """Scores a split.

        Args:
            split: the rows.
            sharing: deals the batches to processes; None computes them here.

        Returns:
            The logits and metrics, and the rows in the tokens that the model reads.
        """
        rows = tokenise(
            split,
            self._tokenizer,
            self._config.model.max_length,
            self._config.data.num_workers,
            LongTexts.of(self._config.data),
        )
        check_rows(
            self._model,
            rows.input_ids(),
            rows.input_lengths,
            split.name,
            rows.windows,
        )
        with progress_bar() as bar:
            scorer = self._scorer(bar, sharing or NoSharing())
            evaluated = scorer.score(self._model, rows)
        return evaluated, rows

    def batch_logits(self, rows: TokenLists) -> Logits:
        """Computes the logits of one batch; see `Scorer`."""
        scorer = self._scorer(Progress(disable=True), NoSharing())
        return scorer.batch_logits(self._model, rows)

    def _scorer(self, bar: Progress, sharing: Sharing) -> Scorer:
        return Scorer(
            task=self._config.data.task,
            labels=self.labels,
            collator=self._collator,
            batch_size=self._batch_size,
            compute=self._compute,
            bar=bar,
            sharing=sharing,
        )


def _recorded_precision(run: RunDir, training: TrainingConfig) -> Precision:
    """Returns the precision of the run; the recorded one if its config has auto."""
    if training.precision is not Precision.auto:
        return training.precision
    if not run.provenance.is_file():
        return training.precision
    recorded = read_provenance(run).get("precision")
    if recorded not in list(Precision):
        return training.precision
    return Precision(recorded)


def _compute(device: Device, precision: Precision) -> Compute:
    compute = choose(device, Precision.fp32)
    device_type = compute.device.type
    if precision is Precision.fp16 and device_type != "cuda":
        raise ConfigError(
            [f"precision=fp16: needs a CUDA GPU, not {device_type}; use precision=fp32"]
        )
    return choose(device, precision)
