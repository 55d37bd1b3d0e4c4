"""Odd parquet files; see `odd_delimited`."""

from decimal import Decimal

import pyarrow as pa
from odd_delimited import GOOD
from outcomes import Outcome, parquet

_X = pa.array(["x"])

PARQUET: list[tuple[str, bytes, Outcome]] = [
    # parquet
    (
        "a.parquet",
        parquet(text=pa.array(["a", None]), label=pa.array(["x", "y"])),
        ["a", ""],
    ),
    (
        "large.parquet",
        parquet(text=pa.array(["a"], pa.large_string()), label=_X),
        ["a"],
    ),
    (
        "dictionary.parquet",
        parquet(text=pa.array(["a", "b", "a"]).dictionary_encode(), label=["x"] * 3),
        list("aba"),
    ),
    (
        "nested.parquet",
        parquet(text=pa.array([{"a": 1}]), label=_X),
        "row 1: the text is a dict",
    ),
    (
        "binary.parquet",
        parquet(text=pa.array([b"a"]), label=_X),
        "row 1: the text is a bytes",
    ),
    (
        "decimal.parquet",
        parquet(text=pa.array([Decimal("1.5")]), label=_X),
        "row 1: the text is a Decimal",
    ),
    (
        "time.parquet",
        parquet(text=pa.array([0], pa.timestamp("s")), label=_X),
        "row 1: the text is a datetime",
    ),
    (
        "far_time.parquet",
        parquet(text=pa.array([10**15], pa.timestamp("s")), label=_X),
        "a value cannot be read",
    ),
    (
        "not_utf8.parquet",
        parquet(text=pa.array([b"\xff"]).view(pa.string()), label=_X),
        "a value cannot be read",
    ),
    ("cut.parquet", parquet(text=_X, label=_X)[:-10], "not a readable parquet file"),
    (
        "no_rows.parquet",
        parquet(text=pa.array([], pa.string()), label=pa.array([], pa.string())),
        "holds no rows",
    ),
    ("csv.parquet", GOOD, "not a readable parquet file"),
    ("empty.parquet", b"", "the file is empty"),
    ("no_text.parquet", parquet(body=_X, label=_X), "no column 'text'"),
]
