"""Reads back what each tracker wrote, through its own client, as {(name, step): [value, ...]} in the order written."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ostinato.run_dir import RunDir

Values = dict[tuple[str, int], list[float]]


def _collect(points: Iterator[tuple[str, int, float]]) -> Values:
    values: Values = defaultdict(list)
    for name, step, value in points:
        values[name, step].append(value)
    return dict(values)


def from_jsonl(run: RunDir) -> Values:
    lines = map(json.loads, run.metrics.read_text(encoding="utf-8").splitlines())
    return _collect((line["name"], line["step"], line["value"]) for line in lines)


def from_results(run: RunDir) -> Values:
    """The history in results.json."""
    metrics = json.loads(run.results.read_text(encoding="utf-8"))["metrics"]
    return _collect(
        (name, p["step"], p["value"])
        for name, points in metrics.items()
        for p in points
    )


def from_tensorboard(run: RunDir) -> Values:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("final/")]
    return _collect(
        (tag, point.step, point.value) for tag in tags for point in events.Scalars(tag)
    )


def mlflow_run(run: RunDir, uri: str | None = None):
    """(client, MLflow's run) of a run folder."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or f"sqlite:///{(run.sweep or run).mlflow_database}")
    return client, client.get_run(run.tracker_id("mlflow").read_text())


def from_mlflow(run: RunDir, uri: str | None = None) -> Values:
    client, kept = mlflow_run(run, uri)
    names = [name for name in kept.data.metrics if not name.startswith("final/")]
    points = (
        point
        for name in names
        for point in client.get_metric_history(kept.info.run_id, name)
    )
    return _collect(
        (p.key, p.step, p.value)
        for p in sorted(points, key=lambda p: (p.step, p.timestamp))
    )


def wandb_records(file: Path) -> Iterator:
    """The records of an offline W&B file: W&B's own messages, in the log format that its core shares with LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # a block's end has no room for a header
            at += 32768 - at % 32768
            continue
        length, kind = (
            int.from_bytes(data[at + 4 : at + 6], "little"),
            data[at + 6],
        )  # after a checksum
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def wandb_files(run: RunDir) -> list[Path]:
    """One for each time that the run was started, in order."""
    return sorted(
        (run.path / "wandb").glob("offline-run-*/run-*.wandb"),
        key=lambda path: path.stat().st_mtime,
    )


def from_wandb(run: RunDir) -> Values:
    def points() -> Iterator[tuple[str, int, float]]:
        for record in (
            record for file in wandb_files(run) for record in wandb_records(file)
        ):
            items = {
                (i.key or "/".join(i.nested_key)): json.loads(i.value_json)
                for i in record.history.item
            }
            pictures = tuple(
                f"{name.removesuffix('/_type')}/"
                for name in items
                if name.endswith("/_type")
            )
            for name, value in items.items():
                if not name.startswith(("_", *pictures)):
                    yield name, record.history.step.num, float(value)

    return _collect(points())


def from_dvclive(run: RunDir) -> Values:
    def points() -> Iterator[tuple[str, int, float]]:
        folder = run.dvclive / "plots" / "metrics"
        for table in sorted(folder.rglob("*.tsv")):
            with table.open(newline="") as file:
                for row in csv.DictReader(file, delimiter="\t"):
                    yield (
                        table.relative_to(folder).with_suffix("").as_posix(),
                        int(row["step"]),
                        float(row[table.stem]),
                    )

    return _collect(points())
