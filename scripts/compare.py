"""Compare configurations.

python scripts/compare.py runs='[outputs/multirun/a,outputs/multirun/b]'
"""

from pathlib import Path

from ostinato.cli.command import command
from ostinato.config import CompareConfig


@command("compare")
def main(config: CompareConfig) -> None:
    """Prints the tables; also writes them to `output`."""
    from ostinato.comparison.compare import compare
    from ostinato.comparison.page import check_folder, show, write

    if config.output:
        check_folder(Path(config.output))
    comparison = compare(config)
    show(comparison)
    if config.output:
        write(comparison, Path(config.output), "compare")


if __name__ == "__main__":
    main()
