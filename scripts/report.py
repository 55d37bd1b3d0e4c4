"""Write the report of an older or unfinished run.

python scripts/report.py run=outputs/<run>
"""

import sys

from ostinato.cli.command import command, load_run
from ostinato.config import ReportConfig


@command("report")
def main(config: ReportConfig) -> None:
    """Prints the path of the file."""
    run, run_config = load_run(config.run)
    from ostinato.report.page import report

    sys.stdout.write(f"{report(config, run, run_config)}\n")


if __name__ == "__main__":
    main()
