"""The names inside a run folder: the only place that knows them."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ostinato.errors import ConfigError
from ostinato.storage.atomic import write_json, write_text

_DIGEST = "sha256"


class RunDir:
    """A run folder; makes paths, creates nothing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.provenance = self.path / "provenance.json"
        self.fingerprint = self.path / "fingerprint.json"
        self.steps = self.path / "steps.jsonl"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.log = self.path / "train.log"
        self.lock = self.path / ".lock"
        self.job_lock = self.path / ".job.lock"
        self.mlflow_database = self.path / "mlflow.db"
        self.mlflow_artefacts = self.path / "mlartifacts"
        self.dvclive = self.path / "dvclive"
        self.checkpoints = self.path / "checkpoints"
        self.kept_best = self.path / "kept_best"
        self.best = self.path / "best"
        self.best_weights = self.best / "model.safetensors"
        self.calibration = self.best / "calibration.json"
        self.model_card = self.best / "README.md"
        self.report = self.path / "report.html"
        self.onnx = self.path / "onnx"

    @property
    def began(self) -> bool:
        """Whether a training has begun here. One that was killed before it wrote its provenance has not."""
        return self.config.is_file() and (
            self.provenance.is_file() or self.steps.is_file()
        )

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step_{step:08d}"

    def best_of(self, sha256: str) -> Path:
        """Copy of best weights that a checkpoint needs, by the digest of the file."""
        return self.kept_best / f"{sha256}.safetensors"

    def predictions(self, split: str) -> Path:
        """File of the best weights' logits and the labels of a split, in row order."""
        return self.path / "predictions" / f"{split}.safetensors"

    def tracker_id(self, tracker: str) -> Path:
        """File with the id that a tracker's service knows this folder by."""
        return self.path / f"{tracker}.run_id"

    @property
    def sweep(self) -> "RunDir | None":
        """The sweep that the run is a job of, by Hydra's own record in the run folder; None for a single run."""
        return (
            RunDir(self.path.absolute().parent)
            if self._hydra("mode") == "MULTIRUN"
            else None
        )

    @property
    def choices(self) -> dict[str, str]:
        """The option that the run took of each config group, by Hydra's own record."""
        runtime = self._hydra("runtime")
        choices = runtime.get("choices") if isinstance(runtime, dict) else None
        return choices if isinstance(choices, dict) else {}

    def overrides(self) -> list[str]:
        """The command line that started the run, by Hydra's own record.

        Raises:
            ConfigError: the record is missing or damaged.
        """
        record = self.path / ".hydra" / "overrides.yaml"
        try:
            recorded = yaml.safe_load(record.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise ConfigError(
                [f"{record}: damaged or not readable ({str(error).splitlines()[0]})"]
            ) from None
        return key_values(recorded, record)

    def record_overrides(self, overrides: list[str]) -> None:
        """Replaces the recorded command line, see `overrides`."""
        write_text(self.path / ".hydra" / "overrides.yaml", yaml.safe_dump(overrides))

    def _hydra(self, key: str) -> Any:
        try:
            return yaml.safe_load(
                (self.path / ".hydra" / "hydra.yaml").read_text(encoding="utf-8")
            )["hydra"][key]
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
            return None

    def adopt(self, other: "RunDir", overrides: list[str]) -> None:
        """Makes the folder one of a run that is another's but for `overrides`, with Hydra's record to say so."""
        own, record = self.path / ".hydra", other.path / ".hydra"
        own.mkdir(parents=True, exist_ok=True)
        shutil.copy(record / "hydra.yaml", own)
        typed = yaml.safe_load((record / "overrides.yaml").read_text(encoding="utf-8"))
        write_text(own / "overrides.yaml", yaml.safe_dump([*typed, *overrides]))

    @classmethod
    def existing(cls, path: str | Path) -> "RunDir":
        """Opens a run folder that must be there.

        Raises:
            ConfigError: no such folder, or no run in it.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise ConfigError([f"run={path}: no such folder"])
        if not run.config.is_file():
            raise ConfigError(
                [f"run={path}: holds no config.yaml, so it is not a run folder"]
            )
        return run


def key_values(recorded: Any, record: Path) -> list[str]:
    """The items of a recorded command line.

    Raises:
        ConfigError: one is not a text of the form key=value.
    """
    if not isinstance(recorded, list):
        raise ConfigError([f"{record}: damaged (holds no list of key=value)"])
    for item in recorded:
        if not isinstance(item, str) or not (item.startswith("~") or "=" in item):
            raise ConfigError(
                [f"{record}: damaged ({str(item)[:80]!r} is not of the form key=value)"]
            )
    return recorded


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file of a run folder with the digest of its own content, which `read_json` verifies."""
    write_json(path, {**value, _DIGEST: _digest_record(value)})


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run folder; verifies and drops the digest that `write_record` gave it, if it has one.

    Args:
        path: the file.

    Raises:
        ConfigError: the file is missing, damaged or changed.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: missing; the run folder is not complete"]
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: damaged or not readable ({error})"]) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{path}: damaged (holds no JSON object)"])
    digest = value.pop(_DIGEST, None)
    if digest is not None and digest != _digest_record(value):
        raise ConfigError(
            [
                f"{path}: damaged or changed since the run wrote it; restore the file, or train again"
            ]
        )
    return value


def _digest_record(value: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(value))  # keys become text
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def write_config(run: RunDir, resolved: Any) -> None:
    """Writes the resolved config."""
    write_text(
        run.config, yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True)
    )


def read_config(run: RunDir) -> dict[str, Any]:
    """Reads the resolved config back.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    try:
        value = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            [f"{run.config}: damaged or not readable ({str(error).splitlines()[0]})"]
        ) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{run.config}: damaged (holds no config)"])
    return value
