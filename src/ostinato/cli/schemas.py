"""The commands: the config class of each one, its keys, and the groups in `conf/`."""

from pathlib import Path

from ostinato import config as schemas

CONF = Path(__file__).parents[3] / "conf"
SCHEMAS: dict[str, type] = {
    "train": schemas.RunConfig,
    "evaluate": schemas.EvaluateConfig,
    "predict": schemas.PredictConfig,
    "export": schemas.ExportConfig,
    "report": schemas.ReportConfig,
    "reproduce": schemas.ReproduceConfig,
    "crash_test": schemas.CrashTestConfig,
    "benchmark": schemas.BenchmarkConfig,
    "compare": schemas.CompareConfig,
    "cache": schemas.CacheConfig,
}


def command_of(schema: type) -> str:
    """The command that a config class belongs to."""
    for command, candidate in SCHEMAS.items():
        if candidate is schema:
            return command
    raise KeyError(schema)


def reference(command: str) -> list[tuple[str, str, str]]:
    """Every key of a command as (key, default, documentation)."""
    return list(schemas.fields(SCHEMAS[command]))


def keys_of(command: str) -> list[str]:
    """Every key of a command, with dots."""
    return [key for key, _, _ in reference(command)]


def with_documentation(command: str, key: str, problem: str) -> str:
    """A problem, followed by the documentation of its key in parentheses."""
    for candidate, _, documentation in reference(command):
        if candidate == key:
            return f"{problem} ({documentation.rstrip('.')})"
    return problem  # the key is unknown


def groups() -> list[str]:
    """The config groups, for example `model` and `model/adapter`."""
    folders = [path.relative_to(CONF) for path in CONF.rglob("*") if path.is_dir()]
    return [path.as_posix() for path in folders if path.parts[0] != "hydra"]


def options_of(group: str) -> list[str]:
    """The options of a config group, in alphabetical order."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))
