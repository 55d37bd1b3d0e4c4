"""Which run continues when torchrun restarts its processes (`--max-restarts`).

The restarted command is the one that was typed, so it would start a new run.
"""

from ostinato import torchrun
from ostinato.run_dir import RunDir
from ostinato.training.distributed import lasting_store

_FOLDER = "run_folder"


def remember_folder(run: RunDir) -> None:
    """Keeps the run's folder for a restart."""
    lasting_store().set(_FOLDER, str(run.path.absolute()))


def folder_before_restart() -> str | None:
    """The folder of the run that this start continues; None if it starts a new run."""
    if not torchrun.is_restart():
        return None
    store = lasting_store()
    if not store.check([_FOLDER]):
        return None
    return str(store.get(_FOLDER), "utf-8")
