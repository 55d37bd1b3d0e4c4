"""Writes `report.html`: one file that makes no network request, for screen and paper.

A report can be written at any time. It shows what the run folder holds by then, and
names what is missing.
"""

from pathlib import Path

from ostinato.config import ReportConfig, RunConfig
from ostinato.data.splits import TextData
from ostinato.errors import ConfigError
from ostinato.report import (
    class_tables,
    metric_tables,
    row_tables,
    run_details,
    run_plots,
)
from ostinato.report.run_contents import read_run_contents
from ostinato.report.run_metrics import RunMetrics
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.storage.outputs import REPORT_MARK, check_output
from ostinato.templates import environment


def report(
    cfg: ReportConfig,
    run: RunDir,
    config: RunConfig,
) -> Path:
    """Writes the report of an older or unfinished run.

    Args:
        cfg: options of scripts/report.py.
        run: run folder.
        config: config of the run.

    Returns:
        The file.

    Raises:
        ConfigError: the file cannot be written, or exists and is not a report.
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
    """Writes the report of a run atomically.

    Args:
        run: run folder.
        config: config of the run.
        output: HTML file to write.
        slices: columns of the data by which the metrics are broken down.
        data: data of the run; None loads them.

    Returns:
        The file.
    """
    contents = read_run_contents(run, config, data)
    metrics = RunMetrics(contents)
    # Before the template, which shows the notes that this can add.
    slice_tables = row_tables.slice_tables(metrics, slices)
    template = environment().get_template("report.html")
    text = template.render(
        mark=REPORT_MARK,
        run=contents,
        metrics=metrics,
        slice_tables=slice_tables,
        class_tables=class_tables,
        metric_tables=metric_tables,
        row_tables=row_tables,
        run_details=run_details,
        run_plots=run_plots,
    )
    # Paths and error messages can hold unpaired surrogates, which are not valid UTF-8.
    write_text(output, text, errors="replace")
    return output
