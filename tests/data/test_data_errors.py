"""Every problem in the data is a `DataError` of one line with place and remedy."""

from pathlib import Path
from typing import Any

import pytest

from ostinato.config import DataConfig, SeedsConfig, Source
from ostinato.data.splits import load_data
from ostinato.errors import DataError
from ostinato.seeding import Seeds

GOOD = "text,label\na,x\nb,y\n"
CASES: dict[str, tuple[dict[str, str | bytes], dict[str, Any], str]] = {
    "missing file": (
        {"trian.csv": GOOD},
        {},
        r"data\.train_path=.*train\.csv: no such file \(did you mean .*trian\.csv\?\)",
    ),
    "glob without a match": (
        {},
        {"train_path": "*.tsv"},
        r"data\.train_path=\*\.tsv: no file matches this glob",
    ),
    "folder": (
        {"sub/x.csv": GOOD},
        {"train_path": "sub"},
        r"it is a folder: try sub/\*\.csv",
    ),
    "missing column": (
        {"train.csv": "texts,label\na,x\n"},
        {},
        r"train\.csv: no column 'text' .*the columns are texts, label; did you mean data\.text_column=texts\?",
    ),
    "missing label column": (
        {"train.jsonl": '{"text": "a"}\n'},
        {"train_path": "train.jsonl"},
        r"line 1: no column 'label' \(data\.label_column\)",
    ),
    "column twice": (
        {"train.csv": "text,label,text\na,x,b\n"},
        {},
        "column 'text' occurs 2 times",
    ),
    "empty file": ({"train.csv": ""}, {}, r"train\.csv: the file is empty"),
    "header only": ({"train.csv": "text,label\n"}, {}, r"train\.csv: holds no rows"),
    "blank lines only": ({"train.csv": "\n\n"}, {}, r"train\.csv: holds no rows"),
    "empty json list": (
        {"train.json": "[]"},
        {"train_path": "train.json"},
        r"train\.json: holds no rows",
    ),
    "bad encoding": (
        {"train.csv": b"text,label\na,x\ncaf\xe9,y\n"},
        {},
        r"train\.csv, line 3: byte 0xe9 at position 4; the file is not UTF-8",
    ),
    "UTF-16": (
        {"train.csv": GOOD.encode("utf-16")},
        {},
        "encoded as UTF-16; save it as UTF-8",
    ),
    "unpaired surrogate": (
        {"train.jsonl": '{"text": "\\ud800", "label": "x"}\n'},
        {"train_path": "train.jsonl"},
        "line 1: the text contains an unpaired surrogate",
    ),
    "empty label": (
        {"train.csv": "text,label\na,x\nb, \n"},
        {},
        r"train\.csv, line 3: the label is empty",
    ),
    "null label": (
        {"train.jsonl": '{"text": "a", "label": null}\n'},
        {"train_path": "train.jsonl"},
        "line 1: the label is missing",
    ),
    "NaN label": (
        {"train.json": '[{"text": "a", "label": NaN}]'},
        {"train_path": "train.json"},
        "item 1: the label is missing",
    ),
    "list label": (
        {"train.json": '[{"text": "a", "label": ["x"]}]'},
        {"train_path": "train.json"},
        r"item 1: the label \['x'\] is not a name.*data\.task=multi_label",
    ),
    "not a number": (
        {"train.csv": "text,label\na,1\nb,high\n"},
        {"task": "regression"},
        r"line 3: the label 'high' is not a number",
    ),
    "NaN number": (
        {"train.csv": "text,label\na,nan\n"},
        {"task": "regression"},
        "line 2: the label 'nan' is not a finite number",
    ),
    "number that is too large": (
        {"train.csv": "text,label\na,1e39\n"},
        {"task": "regression"},
        "line 2: the label '1e39' is not a finite number",
    ),
    "one class": (
        {"train.csv": "text,label\na,x\nb,x\n"},
        {},
        r"one class only \('x'\).*data\.label_column=label",
    ),
    "no label at all": (
        {"train.csv": "text,label\na,\nb,\n"},
        {"task": "multi_label"},
        "no label at all",
    ),
    "label that train lacks": (
        {"train.csv": GOOD, "t.csv": "text,label\na,x\nb,z\n"},
        {"test_path": "t.csv"},
        r"t\.csv, line 3: the label 'z' does not occur in train",
    ),
    "unknown suffix": (
        {"train.xlsx": "x"},
        {"train_path": "train.xlsx"},
        r"unknown format '\.xlsx'; csv, tsv, json, jsonl, txt and parquet can be read",
    ),
    "spreadsheet named csv": (
        {"train.csv": b"PK\x03\x04\x14\0\6\0"},
        {},
        r"train\.csv: named \.csv but its content is a spreadsheet",
    ),
    "binary named jsonl": (
        {"train.jsonl": b"\x93NUMPY\x01\0"},
        {"train_path": "train.jsonl"},
        "its content is binary",
    ),
    "csv named parquet": (
        {"train.parquet": GOOD},
        {"train_path": "train.parquet"},
        r"train\.parquet: not a readable parquet file",
    ),
    "too many fields": (
        {"train.csv": "text,label\na,x\nwell, yes,y\n"},
        {},
        r"train\.csv, line 3: 3 fields where the header has 2; .*double quotes",
    ),
    "too few fields": (
        {"train.csv": 'text,label\n"a\nb",x\nalone\n'},
        {},
        r"train\.csv, line 4: 1 fields where the header has 2",
    ),
    "a row over several lines": (
        {"train.csv": 'text,label\n"a\nb",x,y\n'},
        {},
        r"train\.csv, line 2: 3 fields where the header has 2",
    ),
    "open quote": (
        {"train.csv": 'text,label\na,x\n"b,y\n'},
        {},
        r"train\.csv, line 3: unexpected end of data",
    ),
    "wrong JSON line": (
        {"train.jsonl": '{"text": "a", "label": "x"}\n{"text": \n'},
        {"train_path": "train.jsonl"},
        r"train\.jsonl, line 2: not JSON",
    ),
    "JSON line that is not an object": (
        {"train.jsonl": "[1, 2]\n"},
        {"train_path": "train.jsonl"},
        "line 1: not a JSON object",
    ),
    "wrong JSON item": (
        {"train.json": '[{"text": "a", "label": "x"}, {"text" "b"}]'},
        {"train_path": "train.json"},
        "item 2: not JSON",
    ),
    "cut JSON list": (
        {"train.json": '[{"text": "a", "label": "x"}'},
        {"train_path": "train.json"},
        "item 1: not JSON",
    ),
    "text is a list": (
        {"train.json": '[{"text": ["a"], "label": "x"}]'},
        {"train_path": "train.json"},
        "item 1: the text is a list, not a string",
    ),
    "too few rows to cut": (
        {"train.csv": GOOD},
        {},
        r"no validation split can be cut from 2 rows.*data\.val_path",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_the_place_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    files, config, message = CASES[case]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load_data(
            DataConfig(source=Source.files, **{"train_path": "train.csv", **config}),
            Seeds(42, SeedsConfig()),
        )
    assert "\n" not in str(caught.value)
