"""Logits of a split, in row order, each row exactly once; and their metrics. Draws and changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from transformers import PreTrainedModel

from ostinato.config import Task
from ostinato.data.batching import plan_evaluation
from ostinato.data.collate import Collator
from ostinato.data.tokenise import TokenisedSplit
from ostinato.errors import TrainingDiverged
from ostinato.model.device import Compute
from ostinato.scoring.metrics import Scores, score


@dataclass(frozen=True)
class Evaluated:
    """A split under a model: fp32 logits [num_rows, num_labels] in row order, and what they are worth."""

    logits: NDArray[np.float32]
    scores: Scores


@dataclass(frozen=True)
class Scorer:
    """Scores splits, always in the same way: the same batches, device and precision."""

    task: Task
    labels: Sequence[str]
    collator: Collator
    batch_size: int
    compute: Compute
    bar: Progress

    def score(self, model: PreTrainedModel, split: TokenisedSplit) -> Evaluated:
        """Scores a split; the model's mode stays as it was.

        Raises:
            TrainingDiverged: the model's outputs are NaN or infinite.
        """
        logits = self._logits(model, split)
        if not np.isfinite(logits).all():
            raise TrainingDiverged(
                f"the model's outputs on {split.name} are no numbers any more; lower training.lr"
            )
        return Evaluated(logits, score(self.task, logits, split.labels, self.labels))

    def _logits(
        self, model: PreTrainedModel, split: TokenisedSplit
    ) -> NDArray[np.float32]:
        logits = np.empty(
            (len(split.lengths), model.config.num_labels), dtype=np.float32
        )
        progress = self.bar.add_task(
            f"scoring {split.name}", total=len(logits), status=""
        )
        was_training = model.training
        model.eval()
        collator = replace(self.collator, multiple=1)
        with (
            torch.compiler.set_stance("force_eager"),
            torch.inference_mode(),
            self.compute.autocast(),
        ):
            for indices in plan_evaluation(split.lengths, self.batch_size):
                batch = collator.batch(split, indices).to(self.compute.device)
                logits[indices] = model(**batch.inputs).logits.float().cpu().numpy()
                self.bar.advance(progress, len(indices))
        model.train(was_training)
        self.bar.remove_task(progress)
        return logits


def describe(evaluated: Evaluated) -> dict[str, Any]:
    """A split's metrics as JSON-able data, as `results.json` holds them."""
    scores = evaluated.scores
    return {
        **scores.metrics,
        "undefined": list(scores.undefined),
        "majority": scores.majority,
        "per_class": scores.per_class,
        "confusion": None if scores.confusion is None else _sparse(scores.confusion),
        "num_rows": len(evaluated.logits),
    }


def _sparse(confusion: NDArray[np.int64]) -> dict[str, list[int]]:
    """The cells of a confusion matrix that hold rows: true class, predicted class, number of rows."""
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    return {
        "true": true.tolist(),
        "predicted": predicted.tolist(),
        "counts": counts.tolist(),
    }
