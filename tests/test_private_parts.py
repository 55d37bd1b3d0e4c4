"""Private names of libraries: each use is listed with a reason and still exists.

A library may remove a private name in any release. The table names the release that
each entry was checked on, so an upgrade in requirements-dev.txt requires a new check.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from private_names import Scanner, defined_names, is_private, resolve

ROOT = Path(__file__).parents[1]


class PrivatePart(NamedTuple):
    """A private name that the program uses.

    Attributes:
        package: the library in requirements-dev.txt.
        path: dotted path, which starts with a module.
        files: the files that use it.
        release: the release that it was checked on.
        why: the reason to use it.
    """

    package: str
    path: str
    files: tuple[str, ...]
    release: str
    why: str


PRIVATE_PARTS = [
    PrivatePart(
        package="torch",
        path="torch.ops.aten._flash_attention_forward",
        files=("src/ostinato/model/attention.py",),
        release="2.13.0",
        why="torch.nn.attention.varlen calls it, but has no dropout",
    ),
    PrivatePart(
        package="torch",
        path="torch._softmax_backward_data",
        files=("src/ostinato/model/attention_weights.py",),
        release="2.13.0",
        why="the backward pass of softmax in one pass over memory, without autograd",
    ),
    PrivatePart(
        package="torch",
        path="torch._dynamo.config.skip_nnmodule_hook_guards",
        files=("src/ostinato/training/compiling.py",),
        release="2.13.0",
        why="compiled layers must not share a graph if they have different hooks",
    ),
    PrivatePart(
        package="torch",
        path="torch.fx.experimental._config.use_duck_shape",
        files=("src/ostinato/training/compiling.py",),
        release="2.13.0",
        why="sizes that are equal in the first batch must not be assumed equal later",
    ),
    PrivatePart(
        package="transformers",
        path="transformers.PreTrainedConfig._attn_implementation",
        files=(
            "src/ostinato/model/agreement.py",
            "src/ostinato/model/packing.py",
            "src/ostinato/model/pretrained.py",
            "src/ostinato/run/identity.py",
        ),
        release="5.23.0",
        why="no public name returns the attention implementation of a loaded model",
    ),
    PrivatePart(
        package="hydra-core",
        path="hydra._internal.utils.get_args_parser",
        files=("src/ostinato/cli/arguments.py",),
        release="1.3.8",
        why="Hydra's options are parsed with Hydra's own parser",
    ),
    PrivatePart(
        package="dvclive",
        path="dvclive.Live._init_dvc",
        files=("src/ostinato/trackers/dvclive.py",),
        release="3.49.1",
        why="it would create a DVC repository in the user's git repository",
    ),
]


SOURCES = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for folder in ("src", "scripts")
    for file in sorted((ROOT / folder).rglob("*.py"))
}
OWN_NAMES = {
    name for source in SOURCES.values() for name in defined_names(ast.parse(source))
}
LISTED = {
    (file, part)
    for entry in PRIVATE_PARTS
    for file in entry.files
    for part in entry.path.split(".")
    if is_private(part)
}


@pytest.mark.parametrize("entry", PRIVATE_PARTS, ids=lambda entry: entry.path)
def test_a_private_name_exists_in_the_installed_library(entry):
    try:
        resolve(entry.path)
    except AttributeError:
        pytest.fail(
            f"{entry.path} is gone; it existed in {entry.package} {entry.release}; "
            f"used by {', '.join(entry.files)} because {entry.why}"
        )


@pytest.mark.parametrize("entry", PRIVATE_PARTS, ids=lambda entry: entry.path)
def test_a_private_name_was_checked_on_the_pinned_release(entry):
    requirements = (ROOT / "requirements-dev.txt").read_text()
    pin = re.search(rf"^{re.escape(entry.package)}==(\S+)", requirements, re.M)
    assert pin is not None
    assert entry.release == pin[1], (
        f"check {entry.path} on {entry.package} {pin[1]}, and then update the table"
    )


@pytest.mark.slow
def test_the_program_uses_only_private_names_in_the_table():
    used = set()
    for file, source in SOURCES.items():
        for name in Scanner(source, OWN_NAMES).find():
            used.add((file, name))
    assert used == LISTED


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from hydra._internal.utils import get_args_parser", "_internal"),
        ("from hydra import _internal", "_internal"),
        ("import hydra._internal.utils", "_internal"),
        ("import torch._dynamo as dynamo", "_dynamo"),
        ("import torch\ntorch._dynamo.config.verbose = True", "_dynamo"),
        ("from torch import ops\nops.aten._softmax", "_softmax"),
        ("def f(model):\n    return model.config._name", "_name"),
        ("def f(model):\n    model.config._name = 1", "_name"),
        ("def f(model):\n    return getattr(model, '_name')", "_name"),
        ("import torch\ndef _dynamo(): pass\ntorch._dynamo", "_dynamo"),
        (
            "import argparse\nclass A(argparse.HelpFormatter):\n    _Section = 1",
            "_Section",
        ),
        (
            "import logging\nclass A(logging.Logger):\n    def _log(self): pass",
            "_log",
        ),
        (
            "import logging\nclass A(logging.Handler):\n"
            "    def emit(self, record): self._closed",
            "_closed",
        ),
    ],
)
def test_the_scan_finds_a_private_name_of_a_library(source, name):
    assert Scanner(source, {"_closed"}).find() == {name}


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.__version__",
        "from ostinato.model import _own",
        "_own = 1\nprint(_own)",
        "class A:\n    def __init__(self): self._own = 1\n    def f(a): return a._own",
        "class A:\n    def f(self): return self._elsewhere",
        "import abc\nclass A(abc.ABC):\n    def _own(self): return self._own",
    ],
)
def test_the_scan_ignores_private_names_of_the_program(source):
    assert Scanner(source, {"_elsewhere"}).find() == set()


@pytest.mark.parametrize(
    "path", ["logging._gone", "logging.Logger._gone", "logging.handlers._gone.name"]
)
def test_a_name_that_does_not_exist_is_not_resolved(path):
    with pytest.raises(AttributeError):
        resolve(path)
