"""A metric on a split."""

from dataclasses import dataclass

from ostinato.errors import ConfigError
from ostinato.scoring.metrics import MINIMISED


@dataclass(frozen=True)
class Metric:
    """A metric on a split, written as val/accuracy.

    Attributes:
        split: val or test.
        name: name of the metric, e.g. accuracy.
    """

    split: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Metric":
        """Reads a metric from the value of `compare.metric`.

        Raises:
            ConfigError: if the text is not a split and a metric.
        """
        split, _, name = text.partition("/")
        if split not in ("val", "test") or not name:
            raise ConfigError(
                [
                    f"compare.metric={text}: give a split and a metric, "
                    "e.g. val/accuracy or test/macro_f1"
                ]
            )
        return cls(split, name)

    def __str__(self) -> str:
        return f"{self.split}/{self.name}"

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value is the better one."""
        return self.name not in MINIMISED
