"""Calls a command in this process, as its script does."""

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from ostinato.cli import interpolation

SCRIPTS = Path(__file__).parents[2] / "scripts"


def call(script: str, *arguments: str) -> int:
    """Runs a script's `main` with these arguments; returns the exit code.

    What it prints goes to this process's streams, which pytest captures.
    """
    main: Any = runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name=script)["main"]
    with _own_process_state(), patch.object(sys, "argv", [f"{script}.py", *arguments]):
        try:
            main()
        except SystemExit as exit_:
            return int(exit_.code or 0)
    return 0


@contextmanager
def _own_process_state() -> Iterator[None]:
    """Restores what a command changes for the rest of its process."""
    with patch.dict("os.environ"):
        try:
            yield
        finally:
            GlobalHydra.instance().clear()
            OmegaConf.register_new_resolver(
                "oc.env", interpolation._environment, replace=True
            )
