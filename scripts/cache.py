"""List or prune the cache: python scripts/cache.py prune=30"""

import datetime
import sys

from ostinato.cli.command import command
from ostinato.config import CacheConfig


@command("cache")
def main(config: CacheConfig) -> None:
    """Prints one line for each entry, and the sum."""
    from ostinato.data.assets import cache_dir
    from ostinato.data.cache import entries, prune

    found = entries() if config.prune is None else prune(config)
    for entry in found:
        used = datetime.datetime.fromtimestamp(entry.last_used).date()
        sys.stdout.write(
            f"{entry.kind:<9}  {entry.size / 1e6:>9.1f} MB  last used {used}  {entry.path.name}\n"
        )
    done = (
        "holds" if config.prune is None else "would lose" if config.dry_run else "lost"
    )
    sys.stdout.write(
        f"{cache_dir()} {done} {len(found)} entries, {sum(e.size for e in found) / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    main()
