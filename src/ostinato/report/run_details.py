"""Formats what a report shows about the run: status, data, provenance, config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ostinato.command_line import command, override
from ostinato.data.checks import read_leaks
from ostinato.report.run_contents import RunContents
from ostinato.report.table import Table
from ostinato.report.text import (
    MISSING,
    count,
    data_name,
    percent,
    plain,
    training_command,
)
from ostinato.run_dir import read_config

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "scikit-learn",
    "ostinato",
)


def status(run: RunContents) -> str:
    """How the run ended."""
    return str(run.results.get("status", "not finished"))


def error(run: RunContents) -> str:
    """The error that stopped the run; empty if none did."""
    return plain(str(run.results.get("error", "")))


def notes(run: RunContents) -> list[str]:
    """What is missing or unusual, one line each."""
    return [plain(note) for note in run.notes]


def headline(run: RunContents) -> str:
    """Summarises the run in one line."""
    training = run.config.training
    parts = [run.config.model.name, data_name(run.config.data), f"seed {training.seed}"]
    for name, (_, labels) in run.predictions.items():
        parts.append(f"{len(labels):,} {name} rows")
    if "seconds" in run.results:
        started = run.results["started"][:16].replace("T", " ")
        parts += [f"{started} UTC", f"{run.results['seconds']:,.0f} s"]
    return plain(" · ".join(parts))


def data_table(run: RunContents) -> Table:
    """For each split: rows read and used, and unusual rows."""
    columns = [
        "split",
        "rows used",
        "rows read",
        "duplicate texts",
        "texts with different labels",
        "empty texts",
        f"cut at {run.config.model.max_length} tokens",
    ]
    if "windows" in run.summary:
        columns[-1] = "lost text"
        columns.append("windows per row")
    columns.append("SHA-256")
    names = dict.fromkeys([*run.summary.get("read", {}), *run.summary.get("used", {})])
    return Table(columns, [_data_row(run.summary, name) for name in names])


def _data_row(summary: Mapping[str, Any], name: str) -> list[str]:
    read = summary["read"].get(name, {})
    used = summary["used"].get(name, {})
    cells = [
        name,
        count(used.get("rows")),
        count(read.get("rows")),
        count(read.get("duplicates")),
        count(read.get("conflicting_duplicates")),
        count(read.get("empty_texts")),
    ]
    truncated = summary.get("truncated", {}).get(name)
    cells.append(MISSING if truncated is None else percent(truncated))
    if "windows" in summary:
        windows = summary["windows"].get(name)
        cells.append(MISSING if windows is None else _windows(windows))
    cells.append(used.get("sha256", "")[:12])
    return cells


def _windows(counts: Mapping[str, Any]) -> str:
    return f"{counts['mean']:.2f} (at most {counts['most']:,})"


def data_findings(run: RunContents) -> list[str]:
    """Texts that two splits share, and what was changed in the data, one line each."""
    read = run.summary.get("read", {})
    leaks = read_leaks(run.summary.get("leaks", {}))
    found = [leak for leak in leaks if leak.num_rows]
    lines = [leak.describe(read[leak.second]["rows"]) for leak in found]
    if leaks and not lines:
        lines.append("no text occurs in two splits")
    lines += run.summary.get("notes", [])
    return [plain(line) for line in lines]


def provenance_facts(run: RunContents) -> list[tuple[str, str]]:
    """What was run, and on what machine: (name, value) of each known fact."""
    results = run.results
    provenance = run.provenance
    facts: dict[str, Any] = {
        "model": run.config.model.name,
        "data": data_name(run.config.data),
        "task": run.config.data.task.value,
        "seed": run.config.training.seed,
        "started": results.get("started"),
        "seconds": results.get("seconds"),
        "steps": _steps(results),
        "best step": results.get("best_step"),
        "device": _device(provenance),
        "processes": _processes(provenance),
        "threads": provenance.get("threads"),
        "processor": _processor(provenance),
        "commit": _commit(provenance),
        "code": provenance.get("code"),
        "python": provenance.get("python"),
        "packages": _packages(provenance),
        "weights (SHA-256)": run.fingerprint.get("best_weights"),
    }
    for name, digest in provenance.get("data", {}).items():
        facts[f"{name} rows (SHA-256)"] = digest
    shown = []
    for name, value in facts.items():
        if value not in (None, ""):
            shown.append((name, plain(str(value))))
    return shown


def _steps(results: Mapping[str, Any]) -> str:
    if "steps" not in results:
        return ""
    return f"{results['steps']:,} ({results['epochs']:.3g} epochs)"


def _processes(provenance: Mapping[str, Any]) -> str:
    processes = provenance.get("processes") or {}
    count = processes.get("count", 1)
    hosts = set(processes.get("hosts", []))
    return f"{count} on {', '.join(sorted(hosts))}" if count > 1 else ""


def _device(provenance: Mapping[str, Any]) -> str:
    keys = ("device", "precision", "attention")
    return ", ".join(str(provenance[key]) for key in keys if key in provenance)


def _processor(provenance: Mapping[str, Any]) -> str | None:
    gpu = provenance.get("gpu") or {}
    cpu = provenance.get("cpu") or {}
    return gpu.get("name") or cpu.get("model")


def _commit(provenance: Mapping[str, Any]) -> str:
    git = provenance.get("git") or {}
    if not git.get("commit"):
        return ""
    changes = ", with local changes" if git.get("diff") else ""
    return f"{git['commit']}{changes}"


def _packages(provenance: Mapping[str, Any]) -> str:
    versions = provenance.get("packages", {})
    named = [f"{name} {versions[name]}" for name in _PACKAGES if name in versions]
    return ", ".join(named)


def commands(run: RunContents) -> list[str]:
    """The commands that train the run again, and that reproduce and compare it."""
    commit = (run.provenance.get("git") or {}).get("commit")
    lines = []
    if commit:
        lines.append(plain(f"git checkout {commit}"))
    training = training_command(run.run)
    if training:
        lines.append(plain(training))
    lines.append(command("reproduce", override("run", str(_relative(run.run.path)))))
    return lines


def _relative(path: Path) -> Path:
    """The path from the current folder if it lies inside, else the absolute path."""
    path = path.absolute()
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def config_yaml(run: RunContents) -> str:
    """The resolved config as YAML."""
    text = yaml.safe_dump(read_config(run.run), sort_keys=False, allow_unicode=True)
    return plain(text)
