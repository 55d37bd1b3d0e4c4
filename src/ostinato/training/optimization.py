"""The optimizer steps of a training, as every one of its processes takes them."""

import logging
from contextlib import AbstractContextManager, nullcontext

from torch.optim import AdamW, Optimizer

from ostinato.config import TrainingConfig
from ostinato.data.batching import Indices
from ostinato.training.averaging import WeightAverage
from ostinato.training.compiling import compiled
from ostinato.training.distributed import Team
from ostinato.training.gradient_sum import FixedOrderSum, OneProcess
from ostinato.training.optim import build_optimizer, lr_factor, set_lr
from ostinato.training.order import BatchOrder
from ostinato.training.prepare import Prepared
from ostinato.training.sharding import ShardedAdamW
from ostinato.training.step import Learner, StepResult, gradient_scaler, train_step

log = logging.getLogger(__name__)


class Optimization:
    """Takes optimizer steps by their number.

    Args:
        cfg: the config of the training.
        prepared: data and model.
        team: the processes of the training; None is this process alone.

    Attributes:
        schedule: epochs and steps.
        learner: model, loss and optimizer.
        whole: the optimizer of whole parameters. It has no moments if they are divided.
        sharded: the optimizer with divided moments, if the config says so.
        average: the moving average of the weights, if the config says so.
    """

    def __init__(
        self, cfg: TrainingConfig, prepared: Prepared, team: Team | None = None
    ) -> None:
        self._cfg = cfg
        self._prepared = prepared
        self._order = BatchOrder(cfg, prepared)
        self.schedule = self._order.schedule
        self.whole = build_optimizer(prepared.model, cfg)
        gradients = FixedOrderSum(prepared.model, team) if team else OneProcess()
        self.sharded = None
        if cfg.shard_optimizer and team and isinstance(gradients, FixedOrderSum):
            assert isinstance(self.whole, AdamW)  # which the config ensures
            self.sharded = ShardedAdamW(self.whole, gradients, team)
        self.average = None
        if cfg.ema_decay is not None:
            self.average = WeightAverage(prepared.model, cfg.ema_decay)
        self.learner = Learner(
            model=prepared.model,
            loss=prepared.loss,
            optimizer=self.sharded or self.whole,
            scaler=gradient_scaler(prepared.compute),
            compute=prepared.compute,
            max_grad_norm=cfg.max_grad_norm,
            gradients=gradients,
        )

    def take_step(self, step: int) -> StepResult:
        """Takes a step; the first one is step 0."""
        set_lr(self.learner.optimizer, self._lr_factor(step))

        def seed_dropout(number: int) -> None:
            seed = self._prepared.seeds.derive("dropout", step, number)
            self._prepared.masks.seed(seed)

        result = train_step(self.learner, self._order.plan(step), seed_dropout)
        if self.average is not None:
            self.average.update()
        return result

    def averaged(self) -> AbstractContextManager[None]:
        """The model computes with the average of its weights, if there is one."""
        return self.average.applied() if self.average is not None else nullcontext()

    def with_moments(self) -> Optimizer:
        """The optimizer with the moments of whole parameters.

        Divided moments come to the CPU. The other processes call `send_moments`.
        """
        if self.sharded is None:
            return self.whole
        optimizer = build_optimizer(self._prepared.model, self._cfg)
        for group, own in zip(
            optimizer.param_groups, self.sharded.param_groups, strict=True
        ):
            group["lr"] = own["lr"]
        for parameter, moments in self.sharded.moments():
            on_cpu = {name: moment.cpu() for name, moment in moments.items()}
            optimizer.state[parameter] = on_cpu
        return optimizer

    def send_moments(self) -> None:
        """Takes part in `with_moments` of process 0."""
        if self.sharded is not None:
            for _ in self.sharded.moments():
                pass

    def lr(self, step: int) -> float:
        """The learning rate of a step."""
        return self._cfg.lr * self._lr_factor(step)

    def rows(self, step: int) -> Indices:
        """Row numbers of a step, int64 [num_rows]."""
        return self._order.rows(step)

    def compiled(self) -> AbstractContextManager[None]:
        """Compiles the model on the first batches, if the config says so."""
        if not self._cfg.compile:
            return nullcontext()
        log.info("training.compile=true: compiling the model")
        steps = range(min(2, self.schedule.steps_per_epoch))
        first = [self._order.plan(step).batch(0) for step in steps]
        prepared = self._prepared
        return compiled(prepared.model, prepared.loss, first, prepared.compute)

    def _lr_factor(self, step: int) -> float:
        total = self.schedule.total_steps
        return lr_factor(step, total, self._cfg.warmup_ratio, self._cfg.schedule)
