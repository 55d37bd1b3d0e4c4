"""Write the table of keys in README.md.

python scripts/document_keys.py
"""

from pathlib import Path

from ostinato.cli.schemas import reference

README = Path(__file__).parents[1] / "README.md"
START = "<!-- keys: scripts/document_keys.py writes this table -->\n"
END = "<!-- /keys -->\n"


def with_table(text: str) -> str:
    """The text of the README with an up-to-date table between `START` and `END`."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    rows = ["| key | default | what |", "| --- | --- | --- |"]
    for key, default, documentation in reference("train"):
        row = f"| `{key}` | `{default}` | {documentation} |"
        rows.append(row.replace("||", "|\\||"))
    table = "\n".join(rows)
    return f"{before}{START}{table}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
