"""One process at a time trains in a run folder, and a new run takes a folder that holds nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ostinato.errors import ConfigError, ResumeRefused
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import remove_leftovers


@contextmanager
def session(run: RunDir, wait: bool = False) -> Iterator[None]:
    """Locks a run folder, and removes what killed processes left in it. The lock ends with the process.

    Args:
        run: the folder, already made.
        wait: wait for another process instead of an error. The lock is reentrant in one thread.

    Raises:
        ResumeRefused: another process has the lock; the folder is as it was.
        ConfigError: the folder is not writable.
    """
    lock = FileLock(run.lock, is_singleton=True)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        remedy = "wait until it ends, or stop it"
        raise ResumeRefused(
            [f"{run.path}: another process trains in this run folder; {remedy}"]
        ) from None
    except OSError as error:
        raise ConfigError([f"{run.path}: not writable ({error.strerror})"]) from None
    try:
        for folder in (
            run.path,
            run.checkpoints,
            run.kept_best,
            run.predictions("val").parent,
        ):
            remove_leftovers(folder)
        yield
    finally:
        lock.release()


def check_new(folder: Path, resumes: bool = False) -> None:
    """Refuses a folder for a run that holds files that are not of a run, or a run that is not resumed.

    Raises:
        ResumeRefused: it does; nothing in it was touched.
    """
    run = RunDir(folder)
    other = "hydra.run.dir takes another folder, or leave it out"
    if run.began and not resumes:
        remedy = f"resume={folder} continues it; for a new run, {other}"
        raise ResumeRefused([f"hydra.run.dir={folder}: already holds a run; {remedy}"])
    if folder.exists() and not folder.is_dir():
        raise ResumeRefused([f"hydra.run.dir={folder}: is not a folder; {other}"])
    ours = run.config.is_file() or (folder / ".hydra").is_dir()
    if (
        folder.is_dir()
        and not ours
        and any(not path.name.startswith(".") for path in folder.iterdir())
    ):
        raise ResumeRefused(
            [f"hydra.run.dir={folder}: holds files that are not of a run; {other}"]
        )
