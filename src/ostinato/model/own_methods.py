"""Replaces methods of single modules, until they are restored."""

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn


class OwnMethod:
    """Another method of one module; its class and its parameters stay as they are.

    Args:
        module: the module, which becomes the first argument.
        name: of the method.
        method: replaces it.
    """

    def __init__(
        self, module: nn.Module, name: str, method: Callable[..., Any]
    ) -> None:
        self._attributes = module.__dict__
        self._name = name
        self._attributes[name] = MethodType(method, module)

    def remove(self) -> None:
        """Restores the method of the class."""
        del self._attributes[self._name]
