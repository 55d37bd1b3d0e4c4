"""The run at a glance: `report.html`, one file that asks nobody for anything, for screen, phone and paper.

Reads a run folder, as far as the run has come, and writes this one file. What is missing is said in it.
"""

from pathlib import Path

from ostinato.config import ReportConfig, RunConfig
from ostinato.data.splits import TextData
from ostinato.errors import ConfigError
from ostinato.report import plots, run_record
from ostinato.report.material import gather
from ostinato.report.view import View
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.storage.outputs import REPORT_MARK, check_output
from ostinato.templates import environment


def report(cfg: ReportConfig, run: RunDir, config: RunConfig) -> Path:
    """Writes the report of a run that may be old or unfinished; returns the file.

    Raises:
        ConfigError: the file cannot be written, or is there and no report.
    """
    slices = config.report.slices if cfg.slices is None else cfg.slices
    output = Path(cfg.output) if cfg.output else run.report
    if cfg.output:
        check_output(output, ".html", lambda text: REPORT_MARK in text)
    try:
        return write_report(run, config, output, slices)
    except OSError as error:
        raise ConfigError(
            [f"output={output}: cannot be written ({error.strerror})"]
        ) from None


def write_report(
    run: RunDir,
    config: RunConfig,
    output: Path,
    slices: list[str],
    data: TextData | None = None,
) -> Path:
    """Writes a run's report, whole or not at all.

    Args:
        run: its folder.
        config: its config.
        output: html file to write.
        slices: columns of the data to break metrics down by.
        data: its data; None loads them again.
    """
    text = (
        environment()
        .get_template("report.html")
        .render(
            mark=REPORT_MARK,
            view=View(gather(run, config, data), slices),
            record=run_record,
            pictures=plots,
        )
    )
    # A path or an error message may hold an unpaired surrogate, which UTF-8 cannot encode.
    write_text(output, text, errors="replace")
    return output
