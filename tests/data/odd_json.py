"""Odd JSON files, as lists and as lines; see `odd_delimited`."""

from outcomes import Outcome


def json_rows(*values: str) -> bytes:
    """JSON lines with these texts, which are written in JSON."""
    lines = [f'{{"text": {value}, "label": "x"}}\n' for value in values]
    return "".join(lines).encode()


_LINES = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
_ITEM = b'{"text": "a", "label": "x"}'
_DEEP = b"[" * 100_000

JSON: list[tuple[str, bytes, Outcome]] = [
    # json: lists
    ("list.json", b"[" + _ITEM + b"," + _ITEM + b"]", ["a", "a"]),
    (
        "spaces.json",
        b" \n\r\t[ \n" + _ITEM + b" \n, " + _ITEM + b"\n]\n\n ",
        ["a", "a"],
    ),
    ("bom.json", b"\xef\xbb\xbf[" + _ITEM + b"]", ["a"]),
    (
        "two_lists.json",
        b"[" + _ITEM + b"]\n[" + _ITEM + b"]",
        "there is more after the end of the list",
    ),
    (
        "list_and_text.json",
        b"[" + _ITEM + b"] end",
        "there is more after the end of the list",
    ),
    (
        "list_and_bracket.json",
        b"[" + _ITEM + b"]]",
        "there is more after the end of the list",
    ),
    (
        "empty_list_and_list.json",
        b"[][" + _ITEM + b"]",
        "there is more after the end of the list",
    ),
    ("last_comma.json", b"[" + _ITEM + b",]", "item 2: not JSON"),
    ("only_comma.json", b"[,]", "item 1: not JSON"),
    ("two_commas.json", b"[" + _ITEM + b",," + _ITEM + b"]", "item 2: not JSON"),
    ("no_comma.json", b"[" + _ITEM + _ITEM + b"]", "item 1: not JSON"),
    ("open_list.json", b"[" + _ITEM, "item 1: not JSON"),
    ("open_list_after_comma.json", b"[" + _ITEM + b",", "item 2: not JSON"),
    ("only_bracket.json", b"[", "item 1: not JSON"),
    ("empty_list.json", b"[]", "holds no rows"),
    ("empty.json", b"", "the file is empty"),
    ("blank.json", b" \n ", "holds no rows"),
    ("two_objects.json", _ITEM + _ITEM, "line 1: not JSON (Extra data"),
    ("pretty_object.json", b'{\n"text": "a"\n}', "line 1: not JSON"),
    ("lists_in_list.json", b"[[1], [2]]", "item 1: not a JSON object"),
    ("null_item.json", b"[" + _ITEM + b", null]", "item 2: not a JSON object"),
    ("string.json", b'"a"', "line 1: not a JSON object"),
    ("latin1.json", b'[{"text": "caf\xe9", "label": "x"}]', "byte 0xe9"),
    # json: values
    ("deep.json", _DEEP, "item 1: nested too deeply"),
    ("deep.jsonl", b'{"text": ' + _DEEP, "line 1: nested too deeply"),
    ("huge.jsonl", json_rows("1" * 5_000), "line 1: Exceeds the limit (4300 digits)"),
    (
        "huge.json",
        b'[{"text": ' + b"1" * 5_000 + b"}]",
        "item 1: Exceeds the limit (4300 digits)",
    ),
    ("large_number.jsonl", json_rows("1" + "0" * 400), ["1" + "0" * 400]),
    (
        "half.jsonl",
        json_rows(r'"\ud800"'),
        r"line 1: the text contains an unpaired surrogate ('\ud800')",
    ),
    ("halves.jsonl", json_rows(r'"\ud83d\ude00"'), ["😀"]),
    (
        "half_in_name.jsonl",
        b'{"\\ud800": "a", "label": "x"}',
        r"the columns are '\ud800'",
    ),
    ("nul.jsonl", json_rows(r'"a\u0000b"'), ["a\0b"]),
    ("null.jsonl", json_rows("null", '"b"'), ["", "b"]),
    ("nan.jsonl", json_rows("NaN"), [""]),
    ("infinity.jsonl", json_rows("-Infinity"), "the text is an infinite number"),
    ("overflow.jsonl", json_rows("1e999"), "the text is an infinite number"),
    ("number.jsonl", json_rows("5"), ["5"]),
    ("bool.jsonl", json_rows("true"), "the text is a bool, not a string"),
    ("list.jsonl", json_rows('["a"]'), "the text is a list, not a string"),
    (
        "double_key.jsonl",
        b'{"text": "a", "label": "x", "text": "b"}',
        "column 'text' occurs 2 times",
    ),
    # json lines
    ("blank_lines.jsonl", b"\n" + _LINES + b"\n \n", ["a", "b"]),
    ("cr_only.jsonl", _LINES.replace(b"\n", b"\r"), ["a", "b"]),
    ("crlf.jsonl", _LINES.replace(b"\n", b"\r\n"), ["a", "b"]),
    ("u2028.jsonl", json_rows('"a\u2028b"'), ["a\u2028b"]),
    ("bom.jsonl", b"\xef\xbb\xbf" + _LINES, ["a", "b"]),
    ("bom_in_the_middle.jsonl", _LINES + b"\xef\xbb\xbf" + _LINES, "line 3: not JSON"),
    (
        "other_keys.jsonl",
        _LINES + b'{"label": "x", "body": "c"}',
        "line 3: no column 'text'",
    ),
    (
        "more_keys.jsonl",
        _LINES + b'{"label": "x", "text": "c", "more": 1}',
        ["a", "b", "c"],
    ),
    ("list.jsonl", b"[1, 2]", "line 1: not a JSON object"),
    ("garbage.jsonl", _LINES + b"...", "line 3: not JSON"),
    ("single_quotes.jsonl", b"{'text': 'a', 'label': 'x'}", "line 1: not JSON"),
]
