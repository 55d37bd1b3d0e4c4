"""The batches of each optimizer step: a function of the seed and the step."""

from ostinato.config import TrainingConfig
from ostinato.data.batching import Indices, Schedule, count_batches, plan_epoch
from ostinato.data.collate import Batch
from ostinato.training.prepare import Prepared


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
        self.schedule = Schedule(num_batches, cfg.epochs)
        self._epoch = -1  # of the batches below
        self._batches: list[Indices] = []

    def rows(self, step: int) -> Indices:
        """Row numbers of a step, int64 [num_rows]. Steps are counted from 0."""
        epoch, position = self.schedule.position(step)
        if epoch != self._epoch:
            self._batches = self._plan(epoch)
            self._epoch = epoch
        return self._batches[position]

    def micro_batches(self, step: int) -> list[Batch]:
        """The micro-batches of a step, without empty ones."""
        rows = self.rows(step)
        split, collator = self._prepared.train, self._prepared.collator
        count = self._cfg.accumulate
        batches = []
        for number in range(count):
            # Each micro-batch gets some of the long rows.
            indices = rows[number::count]
            if len(indices):
                batches.append(collator.batch(split, indices))
        return batches

    def _plan(self, epoch: int) -> list[Indices]:
        return plan_epoch(
            self._lengths,
            self._cfg.batch_size,
            self._seeds.derive("order", epoch),
            self._batching,
            self._cfg.tokens_per_batch,
        )
