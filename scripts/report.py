"""Write the report of an older or unfinished run.

python scripts/report.py run=outputs/<run>
"""

from ostinato.cli.command import command, load_run
from ostinato.cli.terminal import print_results
from ostinato.config import ReportConfig


@command("report")
def main(config: ReportConfig) -> None:
    """Prints the path of the file."""
    run, run_config = load_run(config.run)
    from ostinato.report.page import report

    print_results(str(report(config, run, run_config)))


if __name__ == "__main__":
    main()
