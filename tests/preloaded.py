"""A Python for tests that starts at once: it is forked from a server that has imported torch and transformers already.

`python()` names a program to put where `sys.executable` would stand. It runs a script in a process of its own, with the
caller's arguments, environment, folder and standard streams; signals reach it, and its exit code comes back. What
imports would see differently (a variable that a library reads when it is imported, `-c`, `-m`) runs in the ordinary
Python, and so does everything where Linux is missing.
"""

import atexit
import functools
import importlib
import json
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

# What commands import late. None of it computes anything when it is imported.
LIBRARIES = (
    *(
        "torch",
        "transformers",
        "datasets",
        "sklearn.metrics",
        "scipy.stats",
        "matplotlib.figure",
        "hydra",
        "rich.table",
    ),
    *(
        "transformers.models.auto.modeling_auto",
        "transformers.models.bert.modeling_bert",
    ),
    *("ostinato.run.train", "ostinato.inference.stream", "ostinato.comparison.page"),
)
READ_AT_IMPORT = (
    "HF_",
    "OMP_",
    "MKL_",
    "ATEN_",
    "ONEDNN_",
    "PYTHON",
    "LC_",
    "LANG",
    "HOME",
    "MPL",
    "XDG_",
    "LD_",
)
LENGTH = 8  # bytes of a length or a number


def python(environment: Mapping[str, str] = os.environ) -> str:
    """The program for an environment; its server starts with the first call and ends with this process."""
    if not sys.platform.startswith("linux"):
        return sys.executable
    return _program(tuple(sorted(_read_at_import(environment).items())))


@functools.cache
def _program(environment: tuple[tuple[str, str], ...]) -> str:
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    command = [sys.executable, __file__, "serve", str(listener.fileno())]
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(READ_AT_IMPORT)
    }
    server = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        env=own | dict(environment),
    )
    atexit.register(_end, server, folder)
    (folder / "environment").write_text(json.dumps(dict(environment)))
    program = folder / "python"
    program.write_text(
        f'#!/bin/sh\nexec {shlex.join([sys.executable, "-S", __file__, "ask", str(folder)])} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    server.communicate()  # ends its standard input, and so the server
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
    """Forks for each connection, until standard input ends. Returns in the process that shall run a script."""
    for library in LIBRARIES:
        importlib.import_module(library)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the scripts
    signal.signal(
        signal.SIGCHLD, signal.SIG_IGN
    )  # the kernel forgets the watchers that have ended
    while (
        listener in (ready := select.select([listener, sys.stdin], [], [])[0])
        or sys.stdin not in ready
    ):
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(connection)
            return
        connection.close()
    os._exit(0)


def _watch(connection: socket.socket) -> None:
    """Starts the script's process and tells its exit code; kills it when the asking process is gone."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(_read(connection, int.from_bytes(_read(connection, LENGTH))))
    script = os.fork()
    if not script:
        connection.close()
        _become(request, streams)
        return
    for stream in streams:
        os.close(stream)
    connection.sendall(script.to_bytes(LENGTH))
    ended = os.pidfd_open(script)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.kill(script, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(script, 0)[1])
    try:
        connection.sendall(status.to_bytes(LENGTH, signed=True))
    finally:
        os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Makes this process what a Python would be that was just started for the script."""
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
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
    sys.argv = request["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).parent.absolute())


def _read(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        if not (part := connection.recv(length - len(content))):
            sys.exit("the server of preloaded processes is gone")
        content += part
    return content


def ask(folder: Path, arguments: list[str]) -> int:
    """Has the script run, and waits for it."""
    script = bool(arguments) and arguments[0].endswith(".py")
    if not script or json.loads(
        (folder / "environment").read_text()
    ) != _read_at_import(os.environ):
        os.execv(sys.executable, [sys.executable, *arguments])
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(str(folder / "socket"))
        request = {
            "arguments": arguments,
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        content = json.dumps(request).encode()
        socket.send_fds(server, [b"-"], [0, 1, 2])
        server.sendall(len(content).to_bytes(LENGTH) + content)
        process = int.from_bytes(_read(server, LENGTH))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(process, number))
        status = int.from_bytes(_read(server, LENGTH), signed=True)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        sys.exit(ask(Path(sys.argv[2]), sys.argv[3:]))
    serve(socket.socket(fileno=int(sys.argv[2])))
    runpy.run_path(sys.argv[0], run_name="__main__")
