"""The imports of the whole tree: one direction, no cycle, each foreign library behind its own door, a light start."""

import ast
import fnmatch
import graphlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODE = re.compile(r"[rbt]*[wax+][rwaxbt+]*")
PACKAGE = "ostinato"

# One line per folder, from the bottom up. A module imports from its own folder and from those before it.
LAYERS = {
    "foundations": "errors redaction command_line interruption progress torchrun child_process",
    "config": "config config.*",
    "storage": "storage storage.*",
    "a run's names and seeds": "hydra_record run_dir seeding",
    "templates": "templates",
    "record": "record record.*",
    "data": "data data.*",
    "model": "model model.*",
    "scoring": "scoring scoring.*",
    "trackers": "trackers trackers.*",
    "comparison": "comparison comparison.*",
    "training": "training training.*",
    "inference": "inference inference.*",
    "report": "report report.*",
    "run": "run run.*",
    "sweep": "sweep sweep.*",
    "proof": "proof proof.*",
    "cli": "cli cli.*",
    "the commands": "__init__ scripts.*",
}

# What only the named modules may touch, whether imported or reached through a parent (`torch.distributed.barrier()`).
DOORS = {
    "hydra": "cli.* sweep.sweep scripts.*",
    "omegaconf": "cli.* sweep.sweep scripts.*",
    "hydra.utils.instantiate": "",  # a config file must never be able to name code to run
    "hydra.utils.call": "",
    "pickle": "",  # reading one runs code
    # A damaged record must be a ValueError; the others read what this program made.
    "json.load": "",
    "json.loads": "storage.parsing record.drift run_dir data.tokenise run.* training.* proof.*",
    "yaml.load": "storage.parsing",
    "yaml.safe_load": "cli.presets",
    "torch.distributed": "training.distributed training.stores",
    "torch.nn.parallel": "proof.all_reduce",  # its sums depend on the number of processes
    "tensorboard": "trackers.tensorboard",
    "torch.utils.tensorboard": "trackers.tensorboard",
    "mlflow": "trackers.mlflow",
    "wandb": "trackers.wandb",
    "dvclive": "trackers.dvclive",
    "torch.onnx": "inference.onnx_conversion",
    "onnx": "inference.onnx_conversion",
    "onnxruntime": "inference.onnx_classifier inference.onnx_conversion",
    "peft": "model.adapter",
}

# Modules that write to a file by other means than `storage.atomic`, with the reason.
WRITERS = {
    "storage.scratch": "the lock of a temporary folder",
    "data.assets": "the lock of the cache",
    "data.cache": "the lock of the cache",
    "data.scanning": "rows go to a temporary folder; the whole file is renamed",
    "data.wheels": "members go to a temporary folder, which is renamed",
    "model.trained": "into an atomic folder",
    "inference.onnx_export": "into an atomic folder",
    "training.tensor_files": "into an atomic folder",
    "record.fingerprint": "appends lines, which are flushed",
    "trackers.jsonl": "appends lines, which are flushed",
    "cli.terminal": "/dev/null, for a closed stream",
    "proof.benchmark_startup": "a table in a temporary folder",
    "proof.benchmark_training": "a table in a temporary folder",
    "proof.crash_test": "appends the output of a process",
}

# `--help` and config errors must not wait for these.
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "sklearn",
    "scipy",
    "matplotlib",
    "tensorboard",
    "pandas",
    "pyarrow",
}
LIGHT = [
    "__init__",
    "errors",
    "config",
    "storage.paths",
    "command_line",
    "hydra_record",
    "run_dir",
    "data.assets",
    "data.cache",
    "cli.composition",
    "cli.presets",
    "cli.mistakes",
    "cli.terminal",
    "cli.command",
]  # and all scripts

# What watches the jobs of a sweep and compares runs must not wait for these: they take seconds.
TRAINING = {"torch", "transformers", "datasets"}
WATCHING = [
    "sweep.sweep",
    "sweep.search",
    "sweep.worker",
    "comparison.compare",
    "comparison.page",
]


def module_name(file: Path) -> str:
    """The name in the tables: `config`, `trackers.jsonl`, `trackers` and `__init__` (packages), `scripts.train`."""
    source = ROOT / "src" / PACKAGE
    parts = (
        file.relative_to(source if file.is_relative_to(source) else ROOT)
        .with_suffix("")
        .parts
    )
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {
    module_name(file): file
    for folder in ("src", "scripts")
    for file in sorted((ROOT / folder).rglob("*.py"))
}


def names_used(source: str) -> set[str]:
    """Full dotted names that a module imports, anywhere in it, or reaches by attribute from what it imported."""
    bound: dict[str, str] = {}
    names: set[str] = set()
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                root = alias.name.partition(".")[0]
                bound[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, (
                "relative imports hide where a name comes from: write it in full"
            )
            for alias in node.names:
                names.add(f"{node.module}.{alias.name}")
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names | {
        name
        for node in nodes
        if isinstance(node, ast.Attribute) and (name := _dotted(node, bound))
    }


def _dotted(node: ast.expr, bound: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if isinstance(node, ast.Attribute) and (parent := _dotted(node.value, bound)):
        return f"{parent}.{node.attr}"
    return None


def own_module(name: str) -> str | None:
    """The project's module that a dotted name lies in; None for foreign names."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    prefixes = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
    return next((prefix for prefix in prefixes if prefix in FILES), "__init__")


def layers_of(module: str) -> list[int]:
    return [
        i for i, patterns in enumerate(LAYERS.values()) if matches(module, patterns)
    ]


def matches(module: str, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(module, pattern) for pattern in patterns.split())


def lies_in(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


USES = {
    module: names_used(file.read_text(encoding="utf-8"))
    for module, file in FILES.items()
}
IMPORTS = {
    module: {own for name in names if (own := own_module(name))} - {module}
    for module, names in USES.items()
}


def edges() -> Iterator[tuple[str, str]]:
    return (
        (module, imported)
        for module, targets in IMPORTS.items()
        for imported in sorted(targets)
    )


@pytest.mark.parametrize("module", FILES)
def test_every_module_has_one_layer(module: str) -> None:
    assert len(layers_of(module)) == 1, (
        f"put {module} into exactly one layer of LAYERS in {Path(__file__).name}"
    )


def test_no_import_cycle() -> None:
    try:
        graphlib.TopologicalSorter(IMPORTS).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(error.args[1])}")


def test_imports_point_one_way() -> None:
    upward = [
        f"{module} imports {imported}"
        for module, imported in edges()
        if layers_of(imported) > layers_of(module)
    ]
    assert not upward


@pytest.mark.parametrize("guarded", DOORS)
def test_foreign_libraries_stay_behind_their_door(guarded: str) -> None:
    intruders = {
        module: sorted(found)
        for module, names in USES.items()
        if not matches(module, DOORS[guarded])
        and (found := {name for name in names if lies_in(name, guarded)})
    }
    assert not intruders


def test_light_modules_load_nothing_heavy() -> None:
    scripts = [name for name in FILES if name.startswith("scripts.")]
    assert first_that_loads(HEAVY, [*LIGHT, *scripts]) == ""


@pytest.mark.slow
def test_what_watches_and_compares_loads_nothing_that_trains() -> None:
    assert first_that_loads(TRAINING, WATCHING) == ""


def first_that_loads(libraries: set[str], modules: list[str]) -> str:
    """Runs modules in turn in one process until one loads a library.

    Returns:
        Its name and the libraries; empty if there is none.
    """
    code = """if True:
        import json, runpy, sys
        libraries, modules, files = map(json.loads, sys.argv[1:])
        for module in modules:
            runpy.run_path(files[module], run_name="light")
            if loaded := sorted(set(libraries) & set(sys.modules)):
                print(module, *loaded)
                break
    """
    files = {module: str(FILES[module]) for module in modules}
    arguments = [json.dumps(part) for part in (sorted(libraries), modules, files)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def writes_files(source: str) -> bool:
    """Whether a module opens or makes a file by other means than the atomic writer."""
    return any(
        isinstance(node, ast.Call) and _writes(node)
        for node in ast.walk(ast.parse(source))
    )


def _writes(call: ast.Call) -> bool:
    is_method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if is_method else getattr(call.func, "id", "")
    if name in ("write_bytes", "save_file", "OSFile", "copy2", "copyfile", "copytree"):
        return True
    if name in ("write_text", "copy", "savez"):
        own = ast.unparse(call.func)
        return is_method and (name != "copy" or own == "shutil.copy")
    if name != "open":
        return False
    if ast.unparse(call.func) == "os.open":
        return "O_CREAT" in ast.unparse(call)
    # The mode is the first argument of a method, and the second of the function.
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = [value.value for value in values if isinstance(value, ast.Constant)]
    return any(isinstance(mode, str) and MODE.fullmatch(mode) for mode in modes)


def test_files_are_written_with_the_atomic_writer() -> None:
    found = {
        module
        for module, file in FILES.items()
        if module not in ("scripts.document_keys",)  # for developers
        and writes_files(file.read_text(encoding="utf-8"))
    }
    assert found == set(WRITERS)


@pytest.mark.parametrize(
    ("source", "writes"),
    [
        ("path.open('w')", True),
        ("open(path, 'xb')", True),
        ("path.open(mode='a', encoding='utf-8')", True),
        ("path.write_text(text)", True),
        ("shutil.copy(a, b)", True),
        ("os.open(path, os.O_RDWR | os.O_CREAT)", True),
        ("path.open('rb')", False),
        ("path.open()", False),
        ("write_text(path, text)", False),
        ("values.copy()", False),
    ],
)
def test_every_way_of_writing_is_found(source: str, writes: bool) -> None:
    assert writes_files(source) == writes


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import torch.distributed", "torch.distributed"),
        ("import torch.distributed as dist", "torch.distributed"),
        ("from torch import distributed as dist", "torch.distributed"),
        ("from torch.distributed import all_reduce", "torch.distributed.all_reduce"),
        ("import torch\ntorch.distributed.barrier()", "torch.distributed.barrier"),
        (
            "def late():\n    import torch as t\n    return t.distributed.barrier()",
            "torch.distributed.barrier",
        ),
        ("from hydra import utils\nutils.instantiate(cfg)", "hydra.utils.instantiate"),
    ],
)
def test_no_way_of_naming_a_library_escapes(source: str, name: str) -> None:
    assert name in names_used(source)
