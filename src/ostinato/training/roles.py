"""What process 0 tells the other processes of a training, and how they obey.

Process 0 leads: it runs the whole program as a single process would, and announces what
it computes. The others follow: each one computes its share, writes no file and decides
nothing. So early stopping, signals and errors of files need no agreement.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import nn

from ostinato.data.batching import Indices
from ostinato.data.tokenised_split import TokenisedSplit
from ostinato.interruption import Stop
from ostinato.scoring.arrays import Logits
from ostinato.scoring.evaluation import Scorer
from ostinato.training.averaging import WeightAverage
from ostinato.training.distributed import Team
from ostinato.training.moments import moment_shapes, zero_moments
from ostinato.training.optimization import Optimization
from ostinato.training.prepare import Prepared


class Leader:
    """Announces what process 0 does. Without a team, there is nobody to tell.

    Args:
        team: the processes, or None.
        stop: gets the signals that reach other processes.
    """

    def __init__(self, team: Team | None, stop: Stop) -> None:
        self.team = team
        self._stop = stop

    def load(self, optimization: Optimization) -> None:
        """Sends weights and optimizer state to all."""
        if self.team is None:
            return
        scaler = optimization.learner.scaler
        self._tell({"do": "load", "scaler": scaler.state_dict()})
        _share_state(self.team, optimization)

    def train(self) -> None:
        """Announces that training starts."""
        self._tell({"do": "train"})

    def save(self) -> None:
        """Announces that a checkpoint is saved."""
        self._tell({"do": "save"})

    def step(self, number: int) -> None:
        """Announces an optimizer step."""
        self._tell({"do": "step", "step": number})

    def score(self, split: str, weights: nn.Module | None) -> None:
        """Announces that a split is scored.

        Args:
            split: its name.
            weights: a model whose weights replace those of the training; None keeps
                them.
        """
        self._tell({"do": "score", "split": split, "load": weights is not None})
        if self.team is not None and weights is not None:
            self.team.broadcast(weights.state_dict().values())

    def end(self) -> None:
        """Announces the end."""
        self._tell({"do": "end"})

    def _tell(self, command: dict[str, object]) -> None:
        if self.team is None:
            return
        signals = self.team.tell(command)
        if signals and self._stop.signal is None:
            self._stop.signal = signals[0]


class SharedScoring:
    """Deals the batches of an evaluation to the processes: rank, rank + size, ...

    Args:
        team: the processes.
        leader: announces each evaluation; None in the processes that follow.
        trained: the model whose weights all processes have.
    """

    def __init__(self, team: Team, leader: Leader | None, trained: nn.Module) -> None:
        self._team = team
        self._leader = leader
        self._trained = trained

    def begin(
        self, model: nn.Module, split: TokenisedSplit, count: int
    ) -> Iterable[int]:
        """See `ostinato.scoring.evaluation.Sharing`."""
        if self._leader is not None:
            self._leader.score(split.name, None if model is self._trained else model)
        return range(self._team.rank, count, self._team.size)

    def collect(self, logits: Logits, batches: Sequence[Indices]) -> Iterator[Indices]:
        """See `ostinato.scoring.evaluation.Sharing`."""
        size = self._team.size
        rows = [_rows(batches[rank::size]) for rank in range(size)]
        longest = max(map(len, rows))
        own = np.zeros((longest, logits.shape[1]), dtype=np.float32)
        mine = rows[self._team.rank]
        own[: len(mine)] = logits[mine]
        everyone = self._team.gather(torch.from_numpy(own)).numpy()
        for rank, indices in enumerate(rows):
            logits[indices] = everyone[rank, : len(indices)]
            if rank != self._team.rank:
                yield indices


class Follower:
    """A process that does what process 0 announces.

    Args:
        team: the processes.
        prepared: data and model, the same as in process 0.
        optimization: takes the steps.
        scorer: scores with `SharedScoring`.
        stop: the signals that reach this process.
    """

    def __init__(
        self,
        team: Team,
        prepared: Prepared,
        optimization: Optimization,
        scorer: Scorer,
        stop: Stop,
    ) -> None:
        self._team = team
        self._prepared = prepared
        self._optimization = optimization
        self._scorer = scorer
        self._stop = stop

    def obey(self) -> None:
        """Follows until process 0 announces the end."""
        with ExitStack() as compiled:
            while (command := self._team.hear(self._stop.signal))["do"] != "end":
                if command["do"] == "load":
                    scaler = self._optimization.learner.scaler
                    scaler.load_state_dict(command["scaler"])
                    _share_state(self._team, self._optimization)
                elif command["do"] == "train":
                    self._prepared.model.train()
                    compiled.enter_context(self._optimization.compiled())
                elif command["do"] == "save":
                    self._optimization.send_moments()
                elif command["do"] == "step":
                    self._optimization.take_step(command["step"])
                else:
                    self._score(command["split"], command["load"])

    def _score(self, name: str, load: bool) -> None:
        model = self._prepared.model
        split = next(s for s in self._prepared.splits if s.name == name)
        if load:
            self._team.broadcast(model.state_dict().values())
            self._scorer.logits(model, split)
            return
        with self._optimization.averaged():
            self._scorer.logits(model, split)


def _share_state(team: Team, optimization: Optimization) -> None:
    """Makes weights, average and moments of all processes those of process 0."""
    whole, sharded = optimization.whole, optimization.sharded
    team.broadcast(optimization.learner.model.state_dict().values())
    if optimization.average is not None:
        _share_average(team, optimization.average)
    parameters = [p for group in whole.param_groups for p in group["params"]]
    has_moments = torch.tensor([p in whole.state for p in parameters])
    team.broadcast([has_moments])
    for parameter, has in zip(parameters, has_moments.tolist(), strict=True):
        if not has:
            continue
        moments = whole.state.pop(parameter, None) or zero_moments(whole, parameter)
        names = ("step", *moment_shapes(whole, parameter))
        team.broadcast(moments[name] for name in names)
        if sharded is None:
            whole.state[parameter] = moments
        else:
            sharded.set_moments(parameter, moments)


def _share_average(team: Team, average: WeightAverage) -> None:
    has_begun = torch.tensor([bool(average.weights)])
    team.broadcast([has_begun])
    if has_begun and not average.weights:
        average.update()  # makes tensors of the right shapes
    team.broadcast(average.weights.values())


def _rows(batches: Sequence[Indices]) -> Indices:
    return np.concatenate([np.empty(0, dtype=np.int64), *batches])
