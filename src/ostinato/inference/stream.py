"""Streams rows of files or stdin through a classifier to a file or stdout, in flat memory.

Promises: each input row has exactly one output row, in order, or the command fails and the output file is as it was.
"""

import csv
import json
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from ostinato.config import Backend, PredictConfig
from ostinato.data.columns import Columns
from ostinato.data.files import RowSource, find_files, open_files, open_stdin
from ostinato.data.texts import shown, text_of
from ostinato.errors import ConfigError, DataError
from ostinato.inference.classifier import Classifier, TextClassifier
from ostinato.inference.output_rows import check_names, flat, is_csv, plain, safe_cell
from ostinato.storage.atomic import atomic_file

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells show it


def predict(cfg: PredictConfig, text_column: str, text_pair_column: str | None) -> int:
    """Writes one prediction per input row and returns their number.

    A reader of stdout that stops early (`| head`) ends the program without a message.

    Raises:
        ConfigError: an output that cannot be written, or that is the input.
        DataError: a row that cannot be read; an output file is as it was before.
    """
    keep = None if cfg.keep == "all" else tuple(cfg.keep)
    columns = Columns(text_column, text_pair_column, keep=keep, prefix="")
    _check_output(cfg)
    sources = (
        open_stdin(columns, "input")
        if cfg.input == "-"
        else open_files(cfg.input, columns, "input")
    )
    classifier = _load(cfg)
    check_names(cfg, classifier, keep or ())
    kept: deque[dict[str, Any]] = deque()
    count = 0
    with _writer(cfg) as write:
        for prediction in classifier.predict_stream(
            texts(sources, kept, text_pair_column is not None), cfg.batch_size
        ):
            row = kept.popleft()
            if keep is None:
                check_names(cfg, classifier, row)
            write(row, prediction)
            count += 1
        assert not kept, "a row without a prediction"
    return count


def _load(cfg: PredictConfig) -> Classifier:
    if cfg.backend is Backend.torch:
        return TextClassifier.load(cfg.run, cfg.device, cfg.calibrated)
    from ostinato.inference.onnx_classifier import OnnxClassifier  # an extra

    return OnnxClassifier.load(
        cfg.run, cfg.calibrated, int8=cfg.backend is Backend.onnx_int8
    )


def texts(
    sources: Iterable[RowSource], kept: deque[dict[str, Any]], with_pair: bool = False
) -> Iterator[tuple[str, str | None]]:
    """Yields (text, second text) of each row, and appends what the output repeats of it to `kept`.

    Args:
        sources: the rows.
        kept: gets the kept values of each row.
        with_pair: rows have a second text, and a missing one is empty; without, it is None.

    Raises:
        DataError: a row that cannot be read, or a source without rows; names file and row.
    """
    for source in sources:
        empty = True
        for row in source.rows:
            empty = False
            try:
                text, pair = text_of(row.text), text_of(row.pair) if with_pair else None
                values = {name: plain(name, value) for name, value in row.kept.items()}
            except ValueError as error:
                raise DataError(f"{source.name}, {row.where}: {error}") from None
            kept.append(values)
            yield text, pair
        if empty:
            raise DataError(f"{source.name}: holds no rows")


def _check_output(cfg: PredictConfig) -> None:
    """Refuses an output that cannot be written, or that is the input as well (by any name or link)."""
    if cfg.output != "-":
        path = _output_file(cfg)
        if path.exists() and not path.is_file():
            raise ConfigError([f"output={cfg.output}: not a file; give another name"])
        if not path.parent.is_dir():
            raise ConfigError(
                [f"output={cfg.output}: no such folder {path.parent}; make it first"]
            )
    output = _identity("-" if cfg.output == "-" else _output_file(cfg), sys.stdout)
    for path_or_stdin in ["-"] if cfg.input == "-" else find_files(cfg.input, "input"):
        if output is not None and _identity(path_or_stdin, sys.stdin) == output:
            raise ConfigError(
                [
                    f"output={cfg.output}: is the same file as input={cfg.input}; give another output"
                ]
            )


def _output_file(cfg: PredictConfig) -> Path:
    """The file to write: that which a link points to, so that the file is replaced and not the link."""
    try:
        path = Path(cfg.output).expanduser().resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            [f"output={shown(cfg.output)}: not a path that can be written ({reason})"]
        ) from None
    return path


def _identity(path: str | Path, stream: TextIO) -> tuple[int, int] | None:
    """Device and number of a regular file; None where there is none."""
    try:
        found = os.fstat(stream.fileno()) if path == "-" else os.stat(path)  # noqa: PTH116
    except (
        OSError,
        ValueError,
        AttributeError,
    ):  # not there yet, or a stream without a file
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


Write = Callable[[dict[str, Any], dict[str, Any]], None]


@contextmanager
def _writer(cfg: PredictConfig) -> Iterator[Write]:
    if cfg.output == "-":
        with _quiet_pipe():
            yield _write_stdout
        return
    path = _output_file(cfg)
    try:
        with atomic_file(path, newline="") as file:
            yield _csv_writer(file, cfg) if is_csv(cfg) else _json_writer(file)
    except OSError as error:
        raise ConfigError(
            [f"output={cfg.output}: cannot be written ({error.strerror or error})"]
        ) from error


def _json_writer(file: IO[str]) -> Write:
    return lambda kept, prediction: print(
        json.dumps(kept | prediction, ensure_ascii=False), file=file
    )


def _write_stdout(kept: dict[str, Any], prediction: dict[str, Any]) -> None:
    """A line at a time, so that a reader need not wait; a terminal of another encoding gets ASCII."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(kept | prediction, ensure_ascii=not unicode), flush=True)


@contextmanager
def _quiet_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else Python complains when it flushes at exit
        sys.exit(_BROKEN_PIPE)


def _csv_writer(file: IO[str], cfg: PredictConfig) -> Write:
    table = csv.writer(file)
    header: list[str] = []

    def write(kept: dict[str, Any], prediction: dict[str, Any]) -> None:
        row = flat(kept, prediction)
        if not header:
            header.extend(row)
            table.writerow(map(safe_cell, header) if cfg.csv_safe else header)
        if row.keys() != set(header):
            raise DataError(
                f"keep=all: a row has other columns than the first ({', '.join(map(repr, row.keys() ^ set(header)))}); "
                "name the columns, as keep=[id], or give output=FILE.jsonl"
            )
        values = [row[name] for name in header]
        table.writerow(map(safe_cell, values) if cfg.csv_safe else values)

    return write
