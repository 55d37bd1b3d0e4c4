"""The names of the files in run and sweep folders: the only place that knows them.

Also reads and writes a run's JSON records and its config.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ostinato.errors import ConfigError
from ostinato.hydra_record import HydraRecord
from ostinato.storage.atomic import write_json, write_text
from ostinato.storage.parsing import parse_json, parse_yaml
from ostinato.storage.paths import possible_path

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""peft's names of files."""

_DIGEST = "sha256"


class _TrackedDir:
    """A folder that a tracker can know as a run of its service."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.mlflow_database = self.path / "mlflow.db"
        self.mlflow_artefacts = self.path / "mlartifacts"
        self.mlflow_lock = self.path / ".mlflow.lock"

    def tracker_id(self, tracker: str) -> Path:
        """File with the id that a tracker's service uses for this folder."""
        return self.path / f"{tracker}.run_id"


class SweepDir(_TrackedDir):
    """A sweep folder. Makes paths, creates nothing."""

    HYDRA_RECORD = "multirun.yaml"  # Hydra writes it.
    TABLES = "sweep"  # The stem of the files with the comparison of the jobs.

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.hydra_record = self.path / self.HYDRA_RECORD
        self.page = self.path / f"{self.TABLES}.html"
        self.study = self.path / "study.db"
        self.best_experiment = self.path / "best_experiment.yaml"


class CheckpointDir:
    """A checkpoint folder. Makes paths, creates nothing."""

    _NAME = re.compile(r"step_(\d{8,})")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "model.safetensors"
        self.optimizer = path / "optimizer.safetensors"
        self.average = path / "average.safetensors"
        self.state = path / "state.json"

    @classmethod
    def is_checkpoint(cls, path: Path) -> bool:
        """Whether a path is a folder with the name of a checkpoint."""
        return cls._NAME.fullmatch(path.name) is not None and path.is_dir()

    @property
    def step(self) -> int:
        """The number of optimizer steps before the checkpoint, by its name."""
        return int(self.path.name.removeprefix("step_"))


class RunDir(_TrackedDir):
    """A run folder. Makes paths, creates nothing."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.config = self.path / "config.yaml"
        self.provenance = self.path / "provenance.json"
        self.fingerprint = self.path / "fingerprint.json"
        self.steps = self.path / "steps.jsonl"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.log = self.path / "train.log"
        self.lock = self.path / ".lock"
        self.job_lock = self.path / ".job.lock"
        self.dvclive = self.path / "dvclive"
        self.checkpoints = self.path / "checkpoints"
        self.kept_best = self.path / "kept_best"
        self.best = self.path / "best"
        self.best_config = self.best / "config.json"
        self.calibration = self.best / "calibration.json"
        self.model_card = self.best / "README.md"
        self.report = self.path / "report.html"
        self.onnx = self.path / "onnx"
        self.merged = self.path / "merged"
        self.hydra_record = HydraRecord(self.path)

    @property
    def best_weights(self) -> Path:
        """The best weights; with an adapter, those of the adapter and the head."""
        return weights_in(self.best)

    @property
    def began(self) -> bool:
        """Whether a training began here.

        A training that was killed before it wrote its provenance did not begin.
        """
        recorded = self.provenance.is_file() or self.steps.is_file()
        return self.config.is_file() and recorded

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a run, or what is left of one."""
        recorded = self.config.is_file() or self.results.is_file()
        return recorded or self.hydra_record.exists

    @property
    def sweep(self) -> SweepDir | None:
        """The sweep that the run is a job of; None for a single run."""
        if not self.hydra_record.is_sweep_job:
            return None
        return SweepDir(self.path.absolute().parent)

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint after `step` optimizer steps."""
        return self.checkpoints / f"step_{step:08d}"

    def all_checkpoints(self) -> list[CheckpointDir]:
        """The checkpoint folders, newest first; files with other names are ignored."""
        paths = filter(CheckpointDir.is_checkpoint, self.checkpoints.glob("step_*"))
        found = map(CheckpointDir, paths)
        return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)

    def best_of(self, sha256: str) -> Path:
        """Copy of best weights that a checkpoint needs, by the digest of the file."""
        return self.kept_best / f"{sha256}.safetensors"

    def predictions(self, split: str) -> Path:
        """File of the best weights' logits and the labels of a split, in row order."""
        return self.path / "predictions" / f"{split}.safetensors"

    @classmethod
    def given(cls, path: str | Path) -> "RunDir":
        """A run folder that a user names, which need not exist.

        Raises:
            ConfigError: no folder can have this path.
        """
        return cls(possible_path("run", path))

    @classmethod
    def existing(cls, path: str | Path) -> "RunDir":
        """Opens a run folder that must exist.

        Raises:
            ConfigError: there is no such folder, or it does not hold a run.
        """
        run = cls.given(path)
        if not run.path.is_dir():
            raise ConfigError([f"run={path}: no such folder"])
        if not run.config.is_file():
            name = run.config.name
            raise ConfigError(
                [f"run={path}: does not hold {name}, so it is not a run folder"]
            )
        return run


def weights_in(folder: Path) -> Path:
    """The file with the weights in the folder of a model or of an adapter."""
    adapter = folder / ADAPTER_WEIGHTS
    return adapter if adapter.is_file() else folder / "model.safetensors"


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file with a digest of its content, which `read_json` verifies."""
    write_json(path, {**value, _DIGEST: _digest_record(value)})


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run folder.

    Verifies the digest that `write_record` added, if there is one, and removes it.

    Args:
        path: the file.

    Raises:
        ConfigError: the file is missing, damaged or changed.
    """
    value = _read_object(path)
    digest = value.pop(_DIGEST, None)
    if digest is not None and digest != _digest_record(value):
        changed = "damaged or changed since the run wrote it"
        raise ConfigError([f"{path}: {changed}; restore the file, or train again"])
    return value


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"{path}: missing; the run folder is not complete"
        raise ConfigError([message]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: damaged or not readable ({error})"]) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{path}: damaged (does not hold a JSON object)"])
    return value


def _digest_record(value: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(value))  # keys become text
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def write_config(run: RunDir, resolved: Any) -> None:
    """Writes the resolved config."""
    text = yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True)
    write_text(run.config, text)


def read_config(run: RunDir) -> dict[str, Any]:
    """Reads the resolved config.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    try:
        value = parse_yaml(run.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            [f"{run.config}: damaged or not readable ({error})"]
        ) from None
    if not isinstance(value, dict):
        raise ConfigError([f"{run.config}: damaged (does not hold a config)"])
    return value
