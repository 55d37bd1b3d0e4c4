"""Who may train in a run folder.

One process at a time trains in it, and a new run needs a folder without other files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ostinato.errors import ConfigError, ResumeRefused
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import remove_leftovers


@contextmanager
def session(run: RunDir, wait: bool = False) -> Iterator[None]:
    """Locks a run folder, and removes the temporary files of killed processes.

    The lock ends with the process.

    Args:
        run: the folder, which must exist.
        wait: wait for another process instead of raising an error. The lock is
            reentrant in one thread.

    Raises:
        ResumeRefused: another process has the lock; the folder is unchanged.
        ConfigError: the folder is not writable.
    """
    lock = FileLock(run.lock, is_singleton=True)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        problem = "another process trains in this run folder"
        remedy = "wait until it ends, or stop it"
        raise ResumeRefused([f"{run.path}: {problem}; {remedy}"]) from None
    except OSError as error:
        raise ConfigError([f"{run.path}: not writable ({error.strerror})"]) from None
    try:
        _remove_temporary_files(run)
        yield
    finally:
        lock.release()


def check_new(folder: Path, resumes: bool = False) -> None:
    """Checks that a run can take a folder.

    Args:
        folder: the folder; need not exist.
        resumes: whether the run resumes the run in the folder.

    Raises:
        ResumeRefused: the folder holds other files, or a run that is not resumed;
            nothing in it was changed.
    """
    run = RunDir(folder)
    other = "use another hydra.run.dir, or omit it"
    if run.began and not resumes:
        remedy = f"resume={folder} continues it; for a new run, {other}"
        raise ResumeRefused([f"hydra.run.dir={folder}: already holds a run; {remedy}"])
    if folder.exists() and not folder.is_dir():
        raise ResumeRefused([f"hydra.run.dir={folder}: is not a folder; {other}"])
    if _holds_other_files(run):
        problem = "holds files that do not belong to a run"
        raise ResumeRefused([f"hydra.run.dir={folder}: {problem}; {other}"])


def _remove_temporary_files(run: RunDir) -> None:
    predictions = run.predictions("val").parent
    tables = filter(Path.is_dir, run.dvclive.rglob("*"))
    for folder in (run.path, run.checkpoints, run.kept_best, predictions, *tables):
        remove_leftovers(folder)


def _holds_other_files(run: RunDir) -> bool:
    belongs_to_run = run.config.is_file() or run.hydra_record.exists
    if belongs_to_run or not run.path.is_dir():
        return False
    return any(not path.name.startswith(".") for path in run.path.iterdir())
