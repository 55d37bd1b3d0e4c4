"""Computes and scores the logits of a split, each row exactly once and in row order.

Scoring draws no random numbers and does not change the model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from rich.progress import Progress
from transformers import PreTrainedModel

from ostinato.config import Task
from ostinato.data.batching import Indices, plan_evaluation
from ostinato.data.collate import Collator
from ostinato.data.tokenise import TokenisedSplit
from ostinato.errors import TrainingDiverged
from ostinato.model.device import Compute
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

    def begin(self, model: PreTrainedModel, split: str, count: int) -> Iterable[int]:
        """Starts an evaluation.

        Args:
            model: the classifier.
            split: name of the split.
            count: number of batches.

        Returns:
            The numbers of the batches that this process computes.
        """

    def collect(self, logits: Logits, batches: Sequence[Indices]) -> None:
        """Fills in the rows that other processes computed.

        Args:
            logits: [num_rows, num_labels].
            batches: row numbers of each batch.
        """


class NoSharing:
    """This process computes all batches."""

    def begin(self, model: PreTrainedModel, split: str, count: int) -> Iterable[int]:
        """See `Sharing`."""
        return range(count)

    def collect(self, logits: Logits, batches: Sequence[Indices]) -> None:
        """See `Sharing`."""


@dataclass(frozen=True)
class Scorer:
    """Scores splits with the same batches, device and precision each time.

    Attributes:
        task: what a label is.
        labels: names of the classes by number; empty for regression.
        collator: makes batches of rows.
        batch_size: rows per batch.
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
        )
        return Evaluated(logits, scores)

    def logits(self, model: PreTrainedModel, split: TokenisedSplit) -> Logits:
        """Computes the logits of a split, fp32 [num_rows, num_labels]."""
        num_rows = len(split.lengths)
        num_labels = model.config.num_labels
        logits = np.empty((num_rows, num_labels), dtype=np.float32)
        batches = plan_evaluation(split.lengths, self.batch_size)
        title = f"scoring {split.name}"
        progress = self.bar.add_task(
            title,
            total=num_rows,
            status="",
        )
        collator = replace(self.collator, multiple=1)
        was_training = model.training
        model.eval()
        with (
            torch.compiler.set_stance("force_eager"),
            torch.inference_mode(),
            self.compute.autocast(),
        ):
            for number in self.sharing.begin(model, split.name, len(batches)):
                indices = batches[number]
                batch = collator.batch(split, indices)
                batch = batch.to(self.compute.device)
                outputs = model(**batch.inputs)
                batch_logits = outputs.logits.float().cpu()
                logits[indices] = batch_logits.numpy()
                self.bar.advance(progress, len(indices))
        self.sharing.collect(logits, batches)
        model.train(was_training)
        self.bar.remove_task(progress)
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
