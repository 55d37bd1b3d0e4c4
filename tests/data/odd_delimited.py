"""Odd csv and tsv files, encodings and compressed files.

Each case is a file name, its content, and either the texts of its rows or a part of the
error line.
"""

import gzip

import pyarrow as pa
from outcomes import Outcome, parquet

HEAD = b"text,label\n"
GOOD = HEAD + b"a,x\nb,y\n"

_LINES = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
_ITEM = b'{"text": "a", "label": "x"}'
_X = pa.array(["x"])
_LONG = (
    "word " * 40_000
)  # above the default limit of the csv module, 131,072 characters

DELIMITED: list[tuple[str, bytes, Outcome]] = [
    # csv: quotes, fields, lines
    ("good.csv", GOOD, ["a", "b"]),
    ("open_quote.csv", HEAD + b'a,x\n"b,y\nc,x\n', "line 3: unexpected end of data"),
    ("text_after_quote.csv", HEAD + b'"a"b,x\n', "line 2: ',' expected after '\"'"),
    ("doubled_quote.csv", HEAD + b'"say ""a""",x\n', ['say "a"']),
    ("quote_inside.csv", HEAD + b'say "a",x\n', ['say "a"']),
    ("short_row.csv", HEAD + b"a,x\nb\n", "line 3: 1 fields where the header has 2"),
    ("long_row.csv", HEAD + b"a,x\nb,y,z\n", "line 3: 3 fields where the header has 2"),
    ("newline_in_text.csv", HEAD + b'"a\nb",x\nc,y\n', ["a\nb", "c"]),
    ("blank_lines.csv", HEAD + b"\na,x\n\n\nb,y\n\n\n", ["a", "b"]),
    ("blank_before_header.csv", b"\n\n" + GOOD, ["a", "b"]),
    ("no_last_newline.csv", GOOD.rstrip(), ["a", "b"]),
    ("long_text.csv", HEAD + _LONG.encode() + b",x\n", [_LONG]),
    ("empty_text.csv", HEAD + b",x\n", [""]),
    ("space_text.csv", HEAD + b"  ,x\n", ["  "]),
    ("nan_text.csv", HEAD + b"NaN,x\nnull,y\n", ["NaN", "null"]),
    ("formula.csv", HEAD + b'"=cmd()",x\n', ["=cmd()"]),
    # csv: line ends
    ("cr_only.csv", GOOD.replace(b"\n", b"\r"), ["a", "b"]),
    ("crlf.csv", GOOD.replace(b"\n", b"\r\n"), ["a", "b"]),
    ("mixed_ends.csv", b"text,label\r\na,x\rb,y\nc,x", ["a", "b", "c"]),
    ("u2028.csv", HEAD + "a\u2028b\x85c,x\n".encode(), ["a\u2028b\x85c"]),
    # csv: header
    ("header_only.csv", HEAD, "header_only.csv: holds no rows"),
    ("header_without_end.csv", b"text,label", "holds no rows"),
    ("empty.csv", b"", "the file is empty"),
    ("only_newlines.csv", b"\n\n\n", "holds no rows"),
    ("no_header.csv", b"a,x\nb,y\n", "no column 'text'"),
    (
        "double_column.csv",
        b"text,label,text\na,x,b\n",
        "column 'text' occurs 2 times",
    ),
    ("double_other.csv", b"text,label,z,z\na,x,1,2\n", ["a"]),
    ("empty_name.csv", b",text,label\n0,a,x\n", ["a"]),
    ("all_names_empty.csv", b",\na,x\n", "no column 'text'"),
    ("capital.csv", b"Text,label\na,x\n", "no column 'text'"),
    ("spaces_in_header.csv", b" text ,label\na,x\n", "no column 'text'"),
    (
        "semicolons.csv",
        b"text;label\na;x\n",
        "separated by semicolons: save it with commas",
    ),
    ("tabs.csv", b"text\tlabel\na\tx\n", "separated by tabs: name it .tsv"),
    ("commas.tsv", GOOD, "separated by commas: save it with commas as .csv"),
    ("joined.csv", GOOD + b"\xef\xbb\xbf" + GOOD, "line 4: repeats the header"),
    ("escape_in_header.csv", b"\x1b[31mred,label\na,x\n", r"'\x1b[31mred'"),
    # encodings
    ("bom.csv", b"\xef\xbb\xbf" + GOOD, ["a", "b"]),
    ("bom_in_the_middle.csv", HEAD + b"\xef\xbb\xbfa,x\n", ["\ufeffa"]),
    (
        "latin1.csv",
        HEAD + b"a,x\ncaf\xe9,y\n",
        "line 3: byte 0xe9 at position 4; the file is not UTF-8",
    ),
    ("cut_character.csv", HEAD + b"a\xc3", "line 2: byte 0xc3"),
    ("encoded_surrogate.csv", HEAD + b"a\xed\xa0\x80,x\n", "line 2: byte 0xed"),
    ("utf16.csv", GOOD.decode().encode("utf-16"), "encoded as UTF-16"),
    (
        "utf16_without_bom.csv",
        GOOD.decode().encode("utf-16-le"),
        "its content is binary",
    ),
    ("nul.csv", HEAD + b"a\0b,x\n", "its content is binary"),
    (
        "late_nul.csv",
        HEAD + b"a,x\n" * 5_000 + b"a\0b,y\n",
        "line 5002: a NUL byte at position 2",
    ),
    ("emoji.csv", HEAD + "👩‍👩‍👧,x\n".encode(), ["👩‍👩‍👧"]),
    # content of another kind
    ("sheet.csv", b"PK\x03\x04\x14\0\6\0", "a spreadsheet or zip archive"),
    ("old_sheet.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "an old spreadsheet"),
    ("gzip.csv", gzip.compress(GOOD), "gzip-compressed; add .gz to its name"),
    ("csv.json", GOOD, "line 1: not JSON"),
    ("json.csv", b"[" + _ITEM + b"]", "no column 'text'"),
    ("parquet.csv", parquet(text=_X, label=_X), "its content is parquet"),
    ("x.xlsx", b"PK\x03\x04", "unknown format '.xlsx'"),
    ("x.parquet.gz", b"", "unknown format '.parquet.gz'"),
    ("noname", GOOD, "unknown format ''"),
    # gzip
    ("a.csv.gz", gzip.compress(GOOD), ["a", "b"]),
    ("a.tsv.gz", gzip.compress(GOOD.replace(b",", b"\t")), ["a", "b"]),
    ("a.jsonl.gz", gzip.compress(_LINES), ["a", "b"]),
    ("a.json.gz", gzip.compress(b"[" + _ITEM + b"]"), ["a"]),
    ("A.CSV.GZ", gzip.compress(GOOD), ["a", "b"]),
    (
        "two_members.csv.gz",
        gzip.compress(GOOD) + gzip.compress(b"c,x\n"),
        ["a", "b", "c"],
    ),
    ("plain.csv.gz", GOOD, "cannot be read (Not a gzipped file"),
    ("cut.csv.gz", gzip.compress(HEAD + b"a,x\n" * 100)[:-12], "damaged, or cut off"),
    (
        "changed.csv.gz",
        gzip.compress(GOOD)[:-8] + bytes(8),
        "cannot be read (CRC check failed",
    ),
    ("empty.csv.gz", gzip.compress(b""), "the file is empty"),
]
