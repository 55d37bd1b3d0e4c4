"""Kill a training at random moments and resume it.

python scripts/crash_test.py kills=20
"""

import sys
from pathlib import Path

from ostinato.cli.command import command
from ostinato.cli.terminal import print_results
from ostinato.config import CrashTestConfig


@command("crash_test")
def main(config: CrashTestConfig) -> None:
    """Prints a line for each kill; exit code 0 only if all results are identical."""
    from ostinato.proof.crash_test import crash_test

    train = Path(__file__).with_name("train.py")
    different = 0
    for number, kill in enumerate(crash_test(config, train), start=1):
        result = kill.difference or "identical"
        print_results(f"{number:3d}  killed {kill.where}: {result}")
        if kill.difference:
            different += 1
    print_results(f"{config.kills - different} of {config.kills} identical")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
