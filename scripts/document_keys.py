"""Write the README's table of keys from the config's own documentation: python scripts/document_keys.py"""

from pathlib import Path

from ostinato.cli.composition import reference

README = Path(__file__).parents[1] / "README.md"
START, END = (
    "<!-- keys: scripts/document_keys.py writes this table -->\n",
    "<!-- /keys -->\n",
)


def with_table(text: str) -> str:
    """The README's text with an up-to-date table between its marks."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    rows = [
        f"| `{key}` | `{default}` | {doc} |".replace("||", "|\\||")
        for key, default, doc in reference("train")
    ]
    table = "\n".join(["| key | default | what |", "| --- | --- | --- |", *rows])
    return f"{before}{START}{table}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
