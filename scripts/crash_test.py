"""Kill a training at random moments and compare what resuming gives: python scripts/crash_test.py kills=20"""

import sys
from pathlib import Path

from ostinato.cli.command import command
from ostinato.config import CrashTestConfig


@command("crash_test")
def main(config: CrashTestConfig) -> None:
    """Prints a line for each kill; exit code 0 only when all are identical."""
    from ostinato.proof.crash_test import crash_test

    parted = 0
    for number, kill in enumerate(
        crash_test(config, Path(__file__).with_name("train.py")), start=1
    ):
        sys.stdout.write(
            f"{number:3d}  killed {kill.where}: {kill.difference or 'identical'}\n"
        )
        sys.stdout.flush()
        parted += bool(kill.difference)
    sys.stdout.write(f"{config.kills - parted} of {config.kills} identical\n")
    sys.exit(1 if parted else 0)


if __name__ == "__main__":
    main()
