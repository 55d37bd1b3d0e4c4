"""Computes and scores the logits of a split, each row exactly once and in row order.

Scoring draws no random numbers and does not change the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from transformers import PreTrainedModel

from ostinato.config import Task
from ostinato.data.batching import plan_evaluation
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
    """

    task: Task
    labels: Sequence[str]
    collator: Collator
    batch_size: int
    compute: Compute
    bar: Progress

    def score(self, model: PreTrainedModel, split: TokenisedSplit) -> Evaluated:
        """Scores a split. The mode of the model (training or evaluation) is restored.

        Raises:
            TrainingDiverged: if the model's outputs are NaN or infinite.
        """
        logits = self._logits(model, split)
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

    def _logits(self, model: PreTrainedModel, split: TokenisedSplit) -> Logits:
        num_rows = len(split.lengths)
        num_labels = model.config.num_labels
        logits = np.empty((num_rows, num_labels), dtype=np.float32)
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
            for indices in plan_evaluation(split.lengths, self.batch_size):
                batch = collator.batch(split, indices)
                batch = batch.to(self.compute.device)
                outputs = model(**batch.inputs)
                batch_logits = outputs.logits.float().cpu()
                logits[indices] = batch_logits.numpy()
                self.bar.advance(progress, len(indices))
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
