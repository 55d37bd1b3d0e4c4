"""Repeat a run, and compare bit for bit.

python scripts/reproduce.py run=outputs/<run>
"""

import sys

from ostinato.cli.command import command, load_run
from ostinato.cli.terminal import print_results
from ostinato.config import ReproduceConfig


@command("reproduce")
def main(config: ReproduceConfig) -> None:
    """Prints the result; exit code 0 only if the runs are identical."""
    run, run_config = load_run(config.run)
    from ostinato.proof.reproduce import reproduce

    verdict = reproduce(config, run, run_config)
    print_results(*verdict.lines)
    sys.exit(0 if verdict.identical else 1)


if __name__ == "__main__":
    main()
