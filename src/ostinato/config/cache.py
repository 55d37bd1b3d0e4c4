"""The command `cache`."""

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ostinato.config.types import STRICT


@dataclass(config=STRICT, kw_only=True)
class CacheConfig:
    """List the contents of the cache, or prune it."""

    prune: str | None = None
    """Delete what was not used for this many days, or `all`; null only lists."""
    dry_run: bool = False
    """List what `prune` would delete, and delete nothing."""

    @model_validator(mode="after")
    def _check(self) -> "CacheConfig":
        if self.prune is None:
            if self.dry_run:
                raise ValueError(
                    "dry_run=true: has no effect without prune; "
                    "add prune=30 or prune=all"
                )
            return self
        is_number = self.prune.isascii() and self.prune.isdigit()
        if self.prune != "all" and not is_number:
            raise ValueError(f"prune={self.prune}: must be a number of days, or all")
        return self
