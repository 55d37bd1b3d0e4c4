"""The compiled requirements are exact, name nothing of the machine that compiled them, and match pyproject.toml."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
CORE, DEV = "requirements.txt", "requirements-dev.txt"
PIN = re.compile(
    r"([a-z0-9-]+)==([0-9a-z.]+)"
)  # no local version (`+cpu`), no extras, no marker
ITSELF = "-e ."
INSTALLED = [
    extra
    for extra in PROJECT["optional-dependencies"]
    if extra not in ("optuna", "ray")
]  # where tests run


def requirements_of(file: str) -> list[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def pins_of(file: str) -> dict[str, Version]:
    matches = [PIN.fullmatch(line) for line in requirements_of(file)]
    return {match[1]: Version(match[2]) for match in matches if match}


def dependencies(*extras: str) -> list[Requirement]:
    declared = [
        line for extra in extras for line in PROJECT["optional-dependencies"][extra]
    ]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *declared]]


@pytest.mark.parametrize("file", [CORE, DEV])
def test_every_requirement_is_one_exact_version_or_the_package_itself(
    file: str,
) -> None:
    assert [line for line in requirements_of(file) if not PIN.fullmatch(line)] == [
        ITSELF
    ]
    assert len(pins_of(file)) == len(requirements_of(file)) - 1, (
        "a package is named twice"
    )


@pytest.mark.parametrize(("file", "extras"), [(CORE, []), (DEV, INSTALLED)])
def test_every_dependency_is_pinned_within_its_range(
    file: str, extras: list[str]
) -> None:
    pins = pins_of(file)
    stale = [
        f"{dependency} (pinned: {pins.get(canonicalize_name(dependency.name))})"
        for dependency in dependencies(*extras)
        if (pin := pins.get(canonicalize_name(dependency.name))) is None
        or pin not in dependency.specifier
    ]
    assert not stale, f"{file} does not match pyproject.toml: run `make requirements`"


def test_tests_run_on_the_environment_that_trains() -> None:
    assert pins_of(CORE).items() <= pins_of(DEV).items()


@pytest.mark.parametrize("file", [CORE, DEV])
def test_torch_is_one_release_for_every_accelerator(file: str) -> None:
    assert "torch==2.13.0" in requirements_of(file)
    assert not [
        name for name in pins_of(file) if name.startswith(("nvidia", "cuda", "triton"))
    ]


@pytest.mark.parametrize("file", [CORE, DEV])
def test_compiled_files_name_no_host_and_no_path(file: str) -> None:
    assert not re.findall(
        r".*(?:/|\\|@|--).*", (ROOT / file).read_text(encoding="utf-8")
    )


def test_every_library_that_is_imported_is_declared() -> None:
    distributions = importlib.metadata.packages_distributions()
    extras = [extra for extra in PROJECT["optional-dependencies"] if extra != "dev"]
    declared = {
        canonicalize_name(dependency.name) for dependency in dependencies(*extras)
    }
    declared.add(PROJECT["name"])
    undeclared = {
        library
        for library in imported_libraries() - sys.stdlib_module_names
        if not declared
        & {canonicalize_name(name) for name in distributions.get(library, [library])}
    }
    assert not undeclared, "add them to the dependencies in pyproject.toml"


def imported_libraries() -> set[str]:
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    nodes = [
        node
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    plain = {
        alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    named = {
        node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
    }
    return {name.partition(".")[0] for name in plain | named}
