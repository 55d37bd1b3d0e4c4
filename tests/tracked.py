"""Reads back what each tracker wrote, through its own client.

Values are {(name, step): [value, ...]}, in the order in which they were written.
"""

import csv
import functools
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from ostinato.run_dir import RunDir

Values = dict[tuple[str, int], list[float]]

# The log format that W&B shares with LevelDB.
_WANDB_MAGIC = b":W&B"
_FILE_HEADER = _RECORD_HEADER = 7  # bytes
_BLOCK = 32768  # bytes
_WHOLE, _LAST_PART = 1, 4  # kinds of a chunk that complete a record


def _collect(points: Iterable[tuple[str, int, float]]) -> Values:
    values: Values = defaultdict(list)
    for name, step, value in points:
        values[name, step].append(value)
    return dict(values)


def without_speeds(values: Values) -> Values:
    """Removes metrics per second, which differ between runs."""
    return {at: v for at, v in values.items() if not at[0].endswith("_per_s")}


def from_jsonl(run: RunDir) -> Values:
    lines = map(json.loads, run.metrics.read_text(encoding="utf-8").splitlines())
    return _collect((line["name"], line["step"], line["value"]) for line in lines)


def from_results(run: RunDir) -> Values:
    """The history in results.json."""
    metrics = json.loads(run.results.read_text(encoding="utf-8"))["metrics"]
    collected = []
    for name, points in metrics.items():
        collected += [(name, point["step"], point["value"]) for point in points]
    return _collect(collected)


def from_tensorboard(run: RunDir) -> Values:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path), size_guidance={"scalars": 0}).Reload()
    points = []
    for tag in events.Tags()["scalars"]:
        if not tag.startswith("final/"):
            points += [(tag, point.step, point.value) for point in events.Scalars(tag)]
    return _collect(points)


@functools.cache
def _empty_mlflow_database() -> bytes:
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        MlflowClient(f"sqlite:///{file}").search_experiments()
        return file.read_bytes()


def empty_mlflow_database(folder: Path) -> Path:
    """Writes an empty database into a folder; MLflow takes seconds to make one."""
    folder.mkdir(exist_ok=True)
    file = folder / "mlflow.db"
    file.write_bytes(_empty_mlflow_database())
    return file


def mlflow_run(run: RunDir, uri: str | None = None):
    """The client, and the MLflow run of a run folder."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or f"sqlite:///{(run.sweep or run).mlflow_database}")
    return client, client.get_run(run.tracker_id("mlflow").read_text())


def from_mlflow(run: RunDir, uri: str | None = None) -> Values:
    client, recorded = mlflow_run(run, uri)
    points = []
    for name in recorded.data.metrics:
        if not name.startswith("final/"):
            points += client.get_metric_history(recorded.info.run_id, name)
    points.sort(key=lambda point: (point.step, point.timestamp))
    return _collect((point.key, point.step, point.value) for point in points)


def wandb_records(file: Path) -> Iterator:
    """Yields the records of an offline W&B file, as W&B's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = file.read_bytes()
    assert data[:4] == _WANDB_MAGIC
    at = _FILE_HEADER
    record = b""
    while at + _RECORD_HEADER <= len(data):
        left_in_block = _BLOCK - at % _BLOCK
        if left_in_block < _RECORD_HEADER:
            at += left_in_block
            continue
        # The header holds a checksum (4 bytes), the length (2) and the kind (1).
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        kind = data[at + 6]
        at += _RECORD_HEADER
        record += data[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST_PART):
            yield Record.FromString(record)
            record = b""


def wandb_files(run: RunDir) -> list[Path]:
    """The offline files of a run, one for each start, in order."""
    files = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    return sorted(files, key=lambda path: path.stat().st_mtime)


def from_wandb(run: RunDir) -> Values:
    points = []
    for file in wandb_files(run):
        for record in wandb_records(file):
            step = record.history.step.num
            for name, value in _wandb_scalars(record):
                points.append((name, step, value))
    return _collect(points)


def _wandb_scalars(record) -> Iterator[tuple[str, float]]:
    """Yields the scalars of a history record; plots and internal keys are left out."""
    items = {}
    for item in record.history.item:
        name = item.key or "/".join(item.nested_key)
        items[name] = json.loads(item.value_json)
    plots = [name for name in items if name.endswith("/_type")]
    skipped = ("_", *(f"{name.removesuffix('/_type')}/" for name in plots))
    for name, value in items.items():
        if not name.startswith(skipped):
            yield name, float(value)


def from_dvclive(run: RunDir) -> Values:
    folder = run.dvclive / "plots" / "metrics"
    points = []
    for table in sorted(folder.rglob("*.tsv")):
        name = table.relative_to(folder).with_suffix("").as_posix()
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        points += [(name, int(row["step"]), float(row[table.stem])) for row in rows]
    return _collect(points)
