"""Computes and scores the logits of a split, each row exactly once and in row order.

Scoring draws no random numbers and does not change the model.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from rich.progress import Progress
from transformers import PreTrainedModel

from ostinato.config import Task
from ostinato.data.batching import Indices, plan_evaluation
from ostinato.data.collate import Collator, TokenLists, to_device
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.errors import TrainingDiverged
from ostinato.model.device import Compute
from ostinato.model.window_pooling import row_logits
from ostinato.scoring.arrays import Integers, Logits
from ostinato.scoring.scores import Scores, score


@dataclass(frozen=True)
class Evaluated:
    """The outputs of a model on a split.

    Attributes:
        logits: fp32 [num_rows, num_labels], in row order.
        scores: the metrics.
    """

    logits: Logits
    scores: Scores


class Sharing(Protocol):
    """Deals the batches of an evaluation to processes."""

    def begin(
        self, model: PreTrainedModel, split: TokenisedSplit, count: int
    ) -> Iterable[int]:
        """Starts an evaluation.

        Args:
            model: the classifier.
            split: the rows.
            count: number of batches.

        Returns:
            The numbers of the batches that this process computes.
        """

    def collect(self, logits: Logits, batches: Sequence[Indices]) -> Iterable[Indices]:
        """Fills in the rows that other processes computed.

        Args:
            logits: [num_rows, num_labels].
            batches: row numbers of each batch.

        Yields:
            The row numbers of a batch that is filled in.
        """


class NoSharing:
    """This process computes all batches."""

    def begin(
        self, model: PreTrainedModel, split: TokenisedSplit, count: int
    ) -> Iterable[int]:
        """See `Sharing`."""
        return range(count)

    def collect(self, logits: Logits, batches: Sequence[Indices]) -> Iterable[Indices]:
        """See `Sharing`."""
        return ()


@dataclass(frozen=True)
class Scorer:
    """Scores splits with the same batches, device and precision each time.

    Attributes:
        task: what a label is.
        labels: names of the classes by number; empty for regression.
        collator: makes batches of rows.
        batch_size: rows per batch, or windows.
        compute: device and precision.
        bar: shows the progress.
        sharing: deals the batches to processes.
    """

    task: Task
    labels: Sequence[str]
    collator: Collator
    batch_size: int
    compute: Compute
    bar: Progress
    sharing: Sharing = field(default_factory=NoSharing)

    def score(self, model: PreTrainedModel, split: TokenisedSplit) -> Evaluated:
        """Scores a split. The mode of the model (training or evaluation) is restored.

        Raises:
            TrainingDiverged: if the model's outputs are NaN or infinite.
        """
        logits = self.logits(model, split)
        if not np.isfinite(logits).all():
            raise TrainingDiverged(
                f"the model's outputs on {split.name} are NaN or infinite; "
                "lower training.lr"
            )
        scores = score(
            self.task,
            logits,
            split.labels,
            self.labels,
            distributions=split.distributions,
        )
        return Evaluated(logits, scores)

    def logits(self, model: PreTrainedModel, split: TokenisedSplit) -> Logits:
        """Computes the logits of a split, fp32 [num_rows, num_labels]."""
        num_rows = len(split.lengths)
        num_labels = model.config.num_labels
        logits = np.empty((num_rows, num_labels), dtype=np.float32)
        batches = plan_evaluation(split.lengths, self.batch_size, split.windows)
        title = f"scoring {split.name}"
        progress = self.bar.add_task(
            title,
            total=num_rows,
            status="",
        )
        with self._inference(model):
            for number in self.sharing.begin(model, split, len(batches)):
                indices = batches[number]
                logits[indices] = self._forward(model, split.rows[indices])
                self.bar.advance(progress, len(indices))
        for indices in self.sharing.collect(logits, batches):
            self.bar.advance(progress, len(indices))
        self.bar.remove_task(progress)
        return logits

    def batch_logits(self, model: PreTrainedModel, rows: TokenLists) -> Logits:
        """Computes the logits of one batch, the same as `logits` does.

        Args:
            model: the classifier.
            rows: for each column (`input_ids`, ...) one list of integers per row.

        Returns:
            Logits [num_rows, num_labels].
        """
        with self._inference(model):
            return self._forward(model, rows)

    @contextmanager
    def _inference(self, model: PreTrainedModel) -> Iterator[None]:
        was_training = model.training
        model.eval()
        with (
            torch.compiler.set_stance("force_eager"),
            torch.inference_mode(),
            self.compute.autocast(),
        ):
            yield
        model.train(was_training)

    def _forward(self, model: PreTrainedModel, rows: TokenLists) -> Logits:
        inputs = replace(self.collator, multiple=1).inputs(rows)
        outputs = row_logits(model, to_device(inputs, self.compute.device))
        logits: Logits = outputs.float().cpu().numpy()
        return logits


def describe(evaluated: Evaluated) -> dict[str, Any]:
    """Returns the metrics of a split as JSON-able data, as in `results.json`."""
    scores = evaluated.scores
    confusion = None
    if scores.confusion is not None:
        confusion = _sparse(scores.confusion)
    return {
        **scores.metrics,
        "undefined": list(scores.undefined),
        "majority": scores.majority,
        "per_class": scores.per_class,
        "confusion": confusion,
        "num_rows": len(evaluated.logits),
    }


def _sparse(confusion: Integers) -> dict[str, list[int]]:
    """Lists the nonzero cells of a confusion matrix: true, predicted, rows."""
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    return {
        "true": true.tolist(),
        "predicted": predicted.tolist(),
        "counts": counts.tolist(),
    }
