"""Modules and functions are small, and texts use plain words."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_MODULE = 250  # lines
LONGEST_FUNCTION = 50  # lines

BANNED = re.compile(
    r"\b(said|told|mend|mended|parted|not to be had|stay away|anew|no number)\b",
    flags=re.IGNORECASE,
)
SUFFIXES = (".py", ".yaml", ".md", ".html")


def texts():
    """The files whose words are checked."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("src", "conf", "scripts", "docs"):
        found += sorted((ROOT / folder).rglob("*"))
    return [path for path in found if path.suffix in SUFFIXES]


# In prose, a quotation is in typographic quotes, straight quotes or backticks. In code,
# straight quotes mark strings, and these are the program's own words.
QUOTED = re.compile(r"`[^`\n]*`|“[^”\n]*”")
QUOTED_IN_PROSE = re.compile(r'`[^`\n]*`|“[^”\n]*”|"[^"\n]*"')


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def without_quotations(path):
    """The text of a file without its quotations; its lines keep their numbers."""
    quoted = QUOTED_IN_PROSE if path.suffix == ".md" else QUOTED
    return quoted.sub("", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST_MODULE


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path):
    long = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                long.append(f"{node.name}: {lines} lines")
    assert not long


@pytest.mark.parametrize("path", texts(), ids=name_of)
def test_texts_use_plain_words(path):
    found = []
    lines = without_quotations(path).split("\n")
    for number, line in enumerate(lines, start=1):
        words = [match[0] for match in BANNED.finditer(line)]
        found += [f"line {number}: {word}" for word in words]
    assert not found


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("The loss differs at step 2.", True),
        ("The loss parted at step 2.", False),
        ("Told once, then dropped.", False),
        ('The record says "the loss parted".', True),
        ("`the loss parted` was the message.", True),
        ("A recommended amendment.", True),
    ],
)
def test_a_banned_word_counts_outside_quotations_only(text, is_plain, tmp_path):
    file = tmp_path / "text.md"
    file.write_text(text)
    assert (BANNED.search(without_quotations(file)) is None) == is_plain
