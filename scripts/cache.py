"""List the contents of the cache, or prune it.

python scripts/cache.py prune=30
"""

import datetime

from ostinato.cli.command import command
from ostinato.cli.terminal import print_results
from ostinato.config import CacheConfig


@command("cache")
def main(config: CacheConfig) -> None:
    """Prints one line for each entry, and the total."""
    from ostinato.data.assets import cache_dir
    from ostinato.data.cache import entries, prune

    found = entries() if config.prune is None else prune(config)
    for entry in found:
        used = datetime.datetime.fromtimestamp(entry.last_used).date()
        size = entry.size / 1e6
        print_results(
            f"{entry.kind:<9}  {size:>9.1f} MB  last used {used}  {entry.path.name}"
        )
    total = sum(entry.size for entry in found) / 1e6
    print_results(f"{cache_dir()} {_verb(config)} {len(found)} entries, {total:.1f} MB")


def _verb(config: CacheConfig) -> str:
    if config.prune is None:
        return "contains"
    return "would lose" if config.dry_run else "lost"


if __name__ == "__main__":
    main()
