"""An exponential moving average of the weights, which is evaluated and saved.

The training itself never reads the average.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The average of the trained weights over all steps so far.

    The first step begins with its weights; each later one multiplies the average by
    `decay` and adds `1 - decay` times the weights.

    Args:
        model: the classifier, on its device.
        decay: share of the average that a step keeps, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.weights: dict[str, Tensor] = {}

    def update(self) -> None:
        """Adds the weights after a step."""
        weights = [parameter.detach() for parameter in self._trained.values()]
        if not self.weights:
            copies = [tensor.clone() for tensor in weights]
            self.weights = dict(zip(self._trained, copies, strict=True))
            return
        self._update(list(self.weights.values()), weights, 1)

    def load(self, weights: dict[str, Tensor]) -> bool:
        """Continues an average.

        Args:
            weights: the average of each trained parameter by name; empty before the
                first step.

        Returns:
            Whether the names and shapes are those of this model; if not, nothing
            changes.
        """
        expected = {name: p.shape for name, p in self._trained.items()}
        found = {name: tensor.shape for name, tensor in weights.items()}
        if found and found != expected:
            return False
        self.weights = {
            name: weights[name].to(parameter.device, copy=True)
            for name, parameter in self._trained.items()
            if name in weights
        }
        return True

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model computes with the average; afterwards with its own weights.

        Memory addresses stay the same, because CUDA graphs hold them.
        """
        own = {name: self._trained[name].detach().clone() for name in self.weights}
        try:
            self._write(self.weights)
            yield
        finally:
            self._write(own)

    def _write(self, weights: dict[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self._trained[name].data.copy_(tensor)
