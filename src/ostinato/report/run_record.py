"""What a report says of the run itself: its data, surroundings and config, and how to do it again. Draws nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ostinato.command_line import command, override
from ostinato.report.material import Material
from ostinato.report.text import data_name, percent, plain, training_command
from ostinato.run_dir import read_config

Row = Sequence[str]

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "scikit-learn",
    "ostinato",
)


def data(m: Material) -> list[Row]:
    """Each split: rows read and used, and what is odd about them."""
    summary = m.summary
    names = dict.fromkeys([*summary.get("read", {}), *summary.get("used", {})])
    rows: list[Row] = []
    for name in names:
        read, used = summary["read"].get(name, {}), summary["used"].get(name, {})
        cut = summary.get("truncated", {}).get(name)
        counts = (
            read.get(key)
            for key in ("rows", "duplicates", "conflicting_duplicates", "empty_texts")
        )
        cells = [
            "–" if count is None else f"{count:,}"
            for count in (used.get("rows"), *counts)
        ]
        digest = used.get("sha256", "")[:12]
        rows.append([name, *cells, "–" if cut is None else percent(cut), digest])
    return rows


def findings(m: Material) -> list[str]:
    """A line for each pair of splits that share texts, and what was done to the rows."""
    read, shared = m.summary.get("read", {}), m.summary.get("leaks", {})
    pairs = [(*pair.split("/"), count) for pair, count in shared.items() if count]
    lines = [
        f"{count:,} of {read[b]['rows']:,} {b} rows also stand in {a}"
        for a, b, count in pairs
    ]
    if shared and not lines:
        lines = ["no text stands in two splits"]
    return [plain(line) for line in [*lines, *m.summary.get("notes", [])]]


def facts(m: Material) -> list[Row]:
    """What ran, on what."""
    p, r, c = m.provenance, m.results, m.config
    git, packages = p.get("git") or {}, p.get("packages", {})
    facts: dict[str, Any] = {
        "model": c.model.name,
        "data": data_name(c.data),
        "task": c.data.task.value,
        "seed": c.training.seed,
        "started": r.get("started"),
        "seconds": r.get("seconds"),
        "steps": f"{r['steps']:,} ({r['epochs']:.3g} epochs)" if "steps" in r else None,
        "best step": r.get("best_step"),
        "device": ", ".join(
            str(p[key]) for key in ("device", "precision", "attention") if key in p
        ),
        "threads": p.get("threads"),
        "processor": (p.get("gpu") or p.get("cpu") or {}).get("name")
        or (p.get("cpu") or {}).get("model"),
        "commit": git.get("commit")
        and git["commit"] + (", with local changes" if git.get("diff") else ""),
        "code": p.get("code"),
        "python": p.get("python"),
        "packages": ", ".join(
            f"{name} {packages[name]}" for name in _PACKAGES if name in packages
        ),
        "weights (SHA-256)": m.fingerprint.get("best_weights"),
    }
    facts |= {
        f"{name} rows (SHA-256)": digest for name, digest in p.get("data", {}).items()
    }
    return [
        (name, plain(str(value)))
        for name, value in facts.items()
        if value not in (None, "")
    ]


def commands(m: Material) -> list[str]:
    """How the run is trained again and proved."""
    commit = (m.provenance.get("git") or {}).get("commit")
    path, here = m.run.path.absolute(), Path.cwd()
    folder = path.relative_to(here) if path.is_relative_to(here) else path
    lines = [commit and f"git checkout {commit}", training_command(m.run)]
    return [plain(line) for line in lines if line] + [
        command("reproduce", override("run", str(folder)))
    ]


def config(m: Material) -> str:
    """The resolved config."""
    return plain(
        yaml.safe_dump(read_config(m.run), sort_keys=False, allow_unicode=True)
    )
