"""The batches of each optimizer step: a function of the seed and the step."""

from ostinato.config import TrainingConfig
from ostinato.data.batching import Indices, Schedule, count_batches, plan_epoch
from ostinato.training.prepare import Prepared
from ostinato.training.step import StepPlan


class BatchOrder:
    """The batches of a training.

    Attributes:
        schedule: epochs and steps.
    """

    def __init__(self, cfg: TrainingConfig, prepared: Prepared) -> None:
        self._cfg = cfg
        self._prepared = prepared
        self._lengths = prepared.train.lengths
        self._batching = prepared.batching
        self._seeds = prepared.seeds
        num_batches = count_batches(
            self._lengths, cfg.batch_size, self._batching, cfg.tokens_per_batch
        )
        self.schedule = Schedule(num_batches, cfg.epochs, cfg.max_steps)
        self._epoch = -1  # of the batches below
        self._batches: list[Indices] = []

    def rows(self, step: int) -> Indices:
        """Row numbers of a step, int64 [num_rows]. Steps are counted from 0."""
        epoch, position = self.schedule.position(step)
        if epoch != self._epoch:
            self._batches = self._plan(epoch)
            self._epoch = epoch
        return self._batches[position]

    def plan(self, step: int) -> StepPlan:
        """The micro-batches of a step. They are made when they are needed."""
        rows = self.rows(step)
        count = self._cfg.accumulate
        # Each micro-batch gets some of the long rows. A small step has fewer of them.
        parts = [rows[number::count] for number in range(min(count, len(rows)))]
        split, loss = self._prepared.train, self._prepared.loss
        return StepPlan(
            count=len(parts),
            batch=lambda number: self._prepared.collator.batch(split, parts[number]),
            weight=sum(loss.weight(*split.targets(part)) for part in parts),
            num_rows=len(rows),
            num_tokens=int(self._lengths[rows].sum()),
        )

    def _plan(self, epoch: int) -> list[Indices]:
        return plan_epoch(
            self._lengths,
            self._cfg.batch_size,
            self._seeds.derive("order", epoch),
            self._batching,
            self._cfg.tokens_per_batch,
        )
