"""Predicts rows of files or stdin and writes them to a file or stdout.

Memory is constant. Each input row has exactly one output row, in order. If the command
fails, an output file stays as it was.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from ostinato.config import Backend, Device, PredictConfig
from ostinato.data.columns import Columns, Row
from ostinato.data.files import RowSource, open_files, open_stdin
from ostinato.data.texts import text_of
from ostinato.errors import DataError
from ostinato.inference.base_classifier import Classifier, TextPair
from ostinato.inference.classifier import TextClassifier
from ostinato.inference.output_rows import check_names, json_value
from ostinato.inference.output_writer import check_output, open_writer
from ostinato.inference.workers import Compute, Workers, started
from ostinato.model.device import (
    check_processes,
    count_processes,
    default_threads,
    set_threads,
)


def predict(
    cfg: PredictConfig,
    text_column: str,
    text_pair_column: str | None,
) -> int:
    """Writes one prediction per input row.

    If a reader of stdout stops early (`| head`), the program ends without a message.

    Args:
        cfg: options of predict.
        text_column: column with the text.
        text_pair_column: column with the second text; None if there is none.

    Returns:
        Number of rows.

    Raises:
        ConfigError: an output that cannot be written, or that is also the input; or
            processes or threads that this machine cannot run.
        DataError: a row that cannot be read; an output file stays as it was.
        ProcessFailed: another process fails; an output file stays as it was.
    """
    keep = None if cfg.keep == "all" else tuple(cfg.keep)
    columns = Columns(text_column, text_pair_column, keep=keep, prefix="")
    check_output(cfg)
    sources = _open_sources(cfg, columns)
    set_threads(cfg.threads or default_threads(), "threads")
    with _workers(cfg) as workers:
        return _predict(cfg, columns, sources, workers)


def _predict(
    cfg: PredictConfig,
    columns: Columns,
    sources: list[RowSource],
    workers: Workers | None,
) -> int:
    classifier = _load(cfg)
    check_names(cfg, classifier, columns.keep or ())
    kept_rows: deque[dict[str, Any]] = deque()
    pairs = texts(sources, kept_rows, with_pair=columns.pair is not None)
    num_rows = 0
    with open_writer(cfg) as write:
        for prediction in classifier.predict_stream(pairs, cfg.batch_size, workers):
            kept = kept_rows.popleft()
            if columns.keep is None:
                check_names(cfg, classifier, kept)
            write(kept, prediction)
            num_rows += 1
        assert not kept_rows, "a row without a prediction"
    return num_rows


def _open_sources(cfg: PredictConfig, columns: Columns) -> list[RowSource]:
    if cfg.input == "-":
        return open_stdin(columns, "input")
    return open_files(cfg.input, columns, "input")


def _workers(cfg: PredictConfig) -> AbstractContextManager[Workers | None]:
    """The processes that compute the logits; None if this process does."""
    device = cfg.device if cfg.backend is Backend.torch else Device.cpu
    count = count_processes(cfg.processes, device)
    check_processes("processes", count, device)
    if count == 1:
        return nullcontext()
    return started(
        _load_logits,
        (cfg,),
        count=count,
        device=device,
        timeout=cfg.process_timeout,
    )


def _load_logits(cfg: PredictConfig) -> Compute:
    """Loads the classifier in another process; returns its `logits`."""
    return partial(_load(cfg).logits, batch_size=cfg.batch_size)


def _load(cfg: PredictConfig) -> Classifier:
    if cfg.backend is Backend.torch:
        return TextClassifier.load(cfg.run, cfg.device, cfg.calibrated)
    # ONNX Runtime is an optional dependency.
    from ostinato.inference.onnx_classifier import OnnxClassifier

    int8 = cfg.backend is Backend.onnx_int8
    return OnnxClassifier.load(cfg.run, cfg.calibrated, int8)


def texts(
    sources: Iterable[RowSource],
    kept: deque[dict[str, Any]],
    with_pair: bool = False,
) -> Iterator[TextPair]:
    """Yields (text, second text) of each row.

    Args:
        sources: the rows.
        kept: gets the values of the kept columns, one dict per row.
        with_pair: whether rows have a second text, which is empty if it is missing;
            otherwise the second text is None.

    Raises:
        DataError: a row that cannot be read, or a source without rows; the message
            names file and row.
    """
    for source in sources:
        is_empty = True
        for row in source.rows:
            is_empty = False
            try:
                pair = _text_pair(row, with_pair)
                values = {}
                for name, value in row.kept.items():
                    values[name] = json_value(name, value)
            except ValueError as error:
                raise DataError(f"{source.name}, {row.where}: {error}") from None
            kept.append(values)
            yield pair
        if is_empty:
            raise DataError(f"{source.name}: holds no rows")


def _text_pair(row: Row, with_pair: bool) -> TextPair:
    text = text_of(row.text)
    return (text, text_of(row.pair)) if with_pair else (text, None)
