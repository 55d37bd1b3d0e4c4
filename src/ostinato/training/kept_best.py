"""The copies of best weights in `kept_best/`: one for each that a checkpoint needs."""

import shutil
from collections.abc import Callable
from pathlib import Path

from ostinato.record.digests import digest_file, digest_unless_known
from ostinato.run_dir import RunDir, read_json
from ostinato.storage.atomic import atomic_file

READ_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError)


def find_best(
    run: RunDir, sha256: str, digest: Callable[[Path], str] = digest_file
) -> Path:
    """Finds the file with the best weights of this digest.

    The file is the copy of a checkpoint, or it is in `best/`.

    Raises:
        FileNotFoundError: neither has these weights.
    """
    for path in (run.best_of(sha256), run.best_weights):
        if path.is_file() and digest(path) == sha256:
            return path
    raise FileNotFoundError(
        f"its best weights are neither in {run.best} nor in {run.kept_best}"
    )


def keep_best(run: RunDir, sha256: str) -> None:
    """Copies the best weights, unless there is a copy.

    Args:
        run: the run folder.
        sha256: their digest; empty before the first evaluation.

    Raises:
        OSError: the disk is full, or the weights in `best/` have another digest.
    """
    copy = run.best_of(sha256)
    if not sha256 or copy.is_file():
        return
    copy.parent.mkdir(exist_ok=True)
    with atomic_file(copy, "wb") as file, run.best_weights.open("rb") as best:
        shutil.copyfileobj(best, file)
    if digest_unless_known(copy) != sha256:
        copy.unlink()
        raise OSError(f"{run.best_weights} changed while the run trained")


def delete_unused_best(run: RunDir) -> None:
    """Deletes the copies that no checkpoint needs."""
    needed = set()
    for checkpoint in run.all_checkpoints():
        try:
            sha256 = read_json(checkpoint.state)["state"]["best_sha256"]
            needed.add(run.best_of(sha256).name)
        except READ_ERRORS:
            continue  # Damaged: no run resumes from it.
    for path in run.kept_best.glob("*.safetensors"):
        if path.name not in needed:
            path.unlink()
