"""A Python for tests that starts at once, because its libraries are already imported.

`python()` returns a program to use in place of `sys.executable`. The program runs a
script in a new process, forked from a server that has imported torch and transformers.
The script has the caller's arguments, environment, working folder and inherited files;
signals reach it, and the program returns its exit code. The fork server of
multiprocessing is such a process, too, in which the jobs of a sweep begin at once.

The ordinary Python runs what a fork would run differently: other uses of `-c`, `-m`,
and an environment with other values of the variables that libraries read at import
time. It also runs everything on systems other than Linux.
"""

import atexit
import fcntl
import functools
import importlib
import json
import multiprocessing
import os
import random
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Modules that commands import late.
LIBRARIES = (
    "torch",
    "transformers",
    "datasets",
    "sklearn.metrics",
    "scipy.stats",
    "matplotlib.figure",
    "hydra",
    "rich.table",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
    "ostinato.run.train",
    "ostinato.inference.stream",
    "ostinato.comparison.page",
)
# The beginnings of the names of variables that libraries read at import time.
READ_AT_IMPORT = (
    "HF_",
    "OMP_",
    "MKL_",
    "ATEN_",
    "ONEDNN_",
    "PYTHON",
    "LC_",
    "LANG",
    "MPL",
    "XDG_",
    "LD_",
)
FORK_SERVER = "from multiprocessing.forkserver import main; "  # begins its code
NUMBER_BYTES = 8  # size of a number in a message
MAX_FILES = 64


def python(environment: Mapping[str, str] = os.environ) -> str:
    """The program for an environment.

    The first call for an environment starts its server. The server ends with this
    process.
    """
    if not sys.platform.startswith("linux"):
        return sys.executable
    return _program(tuple(sorted(_read_at_import(environment).items())))


@functools.cache
def _program(environment: tuple[tuple[str, str], ...]) -> str:
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    server = _start_server(listener, dict(environment))
    atexit.register(_end, server, folder)
    (folder / "environment").write_text(json.dumps(dict(environment)))
    command = shlex.join([sys.executable, "-S", __file__, "request", str(folder)])
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    return str(program)


def _start_server(
    listener: socket.socket, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(READ_AT_IMPORT)
    }
    return subprocess.Popen(
        [sys.executable, __file__, "serve", str(listener.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        env=others | environment,
    )


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    server.communicate()  # closes its standard input, which ends it
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT)
    }


def serve(listener: socket.socket) -> None:
    """Forks for each connection until standard input ends.

    Returns only in a forked process that must run a script.
    """
    before = dict(os.environ)
    for library in LIBRARIES:
        importlib.import_module(library)
    _fill_caches()
    set_by_imports = {
        name: value for name, value in os.environ.items() if name not in before
    }
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the scripts.
    while _wait_for_connection(listener):
        connection, _ = listener.accept()
        is_server = os.fork() != 0
        if not is_server:
            listener.close()
            _watch(connection, set_by_imports)
            return
        connection.close()
        _collect_ended()
    _collect_ended()
    os._exit(0)


def _fill_caches() -> None:
    """Composes a config and draws a figure, so that the parser and the fonts are loaded."""
    from matplotlib.figure import Figure

    from ostinato.cli.composition import register_schemas
    from ostinato.cli.mistakes import find_problems
    from ostinato.report.svg import to_svg

    register_schemas()
    find_problems("train", ["experiment=debug", "seed=1"], multirun=False)
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="a")
    axes.legend()
    to_svg(figure, "a")


def _wait_for_connection(listener: socket.socket) -> bool:
    """Waits; false if standard input has ended and there is no connection."""
    ready, _, _ = select.select([listener, sys.stdin], [], [])
    return listener in ready


def _collect_ended() -> None:
    """Waits for watching processes that have ended; their CPU time then counts."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass  # there are none


def _watch(connection: socket.socket, set_by_imports: dict[str, str]) -> None:
    """Forks the script's process, waits for it and sends its exit code.

    Kills the script if the requesting process has ended. Returns only in the script's
    process.
    """
    _, files, _, _ = socket.recv_fds(connection, 1, MAX_FILES)
    length = int.from_bytes(_read(connection, NUMBER_BYTES))
    request = json.loads(_read(connection, length))
    script = os.fork()
    if script == 0:
        connection.close()
        request["environment"] = set_by_imports | request["environment"]
        _become(request, files)
        return
    for file in files:
        os.close(file)
    connection.sendall(script.to_bytes(NUMBER_BYTES))
    ended = os.pidfd_open(script)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.kill(script, signal.SIGKILL)
    _, wait_status = os.waitpid(script, 0)
    status = os.waitstatus_to_exitcode(wait_status)
    try:
        connection.sendall(status.to_bytes(NUMBER_BYTES, signed=True))
    finally:
        os._exit(0)


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Makes this process look like a Python that was just started for the script."""
    above = max(*files, *request["files"]) + 1
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in files]
    for target, file in zip(request["files"], moved, strict=True):
        os.dup2(file, target)
    for file in {*files, *moved}.difference(request["files"]):
        os.close(file)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = open(
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    multiprocessing.set_executable(request["program"])
    sys.argv = request["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).parent.absolute())


def _read(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        part = connection.recv(length - len(content))
        if not part:
            sys.exit("the server of the preloaded Python has ended")
        content += part
    return content


def request(folder: Path, arguments: list[str]) -> int:
    """Requests a run of the script, waits for it and returns its exit code."""
    if not _can_fork(folder, arguments):
        os.execv(sys.executable, [sys.executable, *arguments])
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(str(folder / "socket"))
        files = _inherited_files()
        message = {
            "program": str(folder / "python"),
            "arguments": arguments,
            "files": files,
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        content = json.dumps(message).encode()
        socket.send_fds(server, [b"-"], files)
        server.sendall(len(content).to_bytes(NUMBER_BYTES) + content)
        process = int.from_bytes(_read(server, NUMBER_BYTES))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(process, number))
        status = int.from_bytes(_read(server, NUMBER_BYTES), signed=True)
    if status < 0:  # a signal ended the script
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _inherited_files() -> list[int]:
    """Numbers of the open files that a started program inherits."""
    files = [0, 1, 2]
    for link in Path("/proc/self/fd").iterdir():
        file = int(link.name)
        try:
            if file > 2 and os.get_inheritable(file):
                files.append(file)
        except OSError:
            continue  # it was open only for the listing
    return files


def _can_fork(folder: Path, arguments: list[str]) -> bool:
    """Whether a fork gives the same result as the ordinary Python."""
    runs_script = bool(arguments) and arguments[0].endswith(".py")
    served = json.loads((folder / "environment").read_text())
    same_imports = served == _read_at_import(os.environ)
    return same_imports and (runs_script or _is_fork_server(arguments))


def _is_fork_server(arguments: list[str]) -> bool:
    return arguments[-2:-1] == ["-c"] and arguments[-1].startswith(FORK_SERVER)


if __name__ == "__main__":
    if sys.argv[1] == "request":
        sys.exit(request(Path(sys.argv[2]), sys.argv[3:]))
    serve(socket.socket(fileno=int(sys.argv[2])))
    if _is_fork_server(sys.argv):
        exec(sys.argv[-1])
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
