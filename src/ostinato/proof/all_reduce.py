"""The peer of `FixedOrderSum`: torch's DistributedDataParallel in the same step.

Its all-reduce adds in an order that depends on the number of processes, so no training
uses it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ostinato.training.distributed import Team
from ostinato.training.step import Learner


class AllReduceSum:
    """Adds the gradients by an all-reduce during the last backward pass of a step.

    Args:
        model: the classifier, wrapped after the processes are connected.
        team: the processes.
    """

    def __init__(self, model: DistributedDataParallel, team: Team) -> None:
        self._model = model
        self._team = team

    def begin(self, count: int) -> Iterator[int]:
        """See `GradientSum`. Only the last micro-batch exchanges gradients."""
        *first, last = range(self._team.rank, count, self._team.size)
        for number in first:
            with self._model.no_sync():
                yield number
        yield last

    def backward(self, part: Tensor) -> None:
        """See `GradientSum`. The wrapper divides the sum by the number of processes."""
        (part * self._team.size).backward()  # type: ignore[no-untyped-call]

    def complete(self, parts: Sequence[Tensor]) -> Tensor:
        """See `GradientSum`."""
        return self._team.gather(sum(parts, parts[0] * 0)).sum()


def with_all_reduce(learner: Learner, team: Team) -> Learner:
    """The same learner with DistributedDataParallel instead of our sum."""
    model = DistributedDataParallel(learner.model)
    return replace(learner, model=model, gradients=AllReduceSum(model, team))
