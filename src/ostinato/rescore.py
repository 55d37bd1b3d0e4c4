"""Scores splits with the best weights of a finished run, as at training time: weights, batches, flags."""

import torch

from ostinato.config import Device, RunConfig, Task
from ostinato.data.splits import Split
from ostinato.device import choose
from ostinato.dropout import Masks
from ostinato.evaluation import Evaluated, Scorer
from ostinato.model import load_trained
from ostinato.packing import collator_for
from ostinato.padding import check_rows
from ostinato.progress import progress_bar
from ostinato.run_dir import RunDir
from ostinato.seeding import set_determinism
from ostinato.tokenise import TokenisedSplit, tokenise


class Rescorer:
    """The weights in a run's `best/`, ready to score.

    Args:
        run: the run's folder.
        config: its config.
        device: auto takes the run's.
        batch_size: rows per batch; None takes the run's. Another number moves figures in the last digits.

    Attributes:
        labels: names of the classes by number; empty for regression.

    Raises:
        ConfigError: no trained model.
    """

    def __init__(
        self, run: RunDir, config: RunConfig, device: Device = Device.auto, batch_size: int | None = None
    ) -> None:
        training = config.training
        if training.threads is not None:
            torch.set_num_threads(training.threads)
        set_determinism(training.determinism)
        model, self._tokenizer = load_trained(run, config.model.attention)
        self._config = config
        self._batch_size = batch_size or training.eval_batch_size
        self._compute = choose(device if device is not Device.auto else training.device, training.precision)
        self._model = model.to(self._compute.device)
        autocast = self._compute.autocast
        self._collator = collator_for(self._model, self._tokenizer, training.batching, Masks(), autocast=autocast)
        self.labels = tuple(model.config.id2label.values()) if config.data.task is not Task.regression else ()

    def score(self, split: Split) -> tuple[Evaluated, TokenisedSplit]:
        """Scores rows; returns what they are worth, and the rows as the model reads them."""
        rows = tokenise(split, self._tokenizer, self._config.model.max_length, self._config.data.num_workers)
        check_rows(self._model, rows.input_ids(), rows.lengths, split.name)
        with progress_bar() as bar:
            task = self._config.data.task
            scorer = Scorer(task, self.labels, self._collator, self._batch_size, self._compute, bar)
            return scorer.score(self._model, rows), rows
