"""The packaging is consistent: compiled requirements, project metadata and CI."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE, DEV = "requirements.txt", "requirements-dev.txt"
# No local version (`+cpu`), no extras, no marker.
PIN = re.compile(r"([a-z0-9-]+)==([0-9a-z.]+)")
ITSELF = "-e ."
# The extras of requirements-dev.txt, on which the tests run.
INSTALLED = [extra for extra in EXTRAS if extra not in ("optuna", "ray")]


def requirements_of(file: str) -> list[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    requirements = [line.partition("#")[0].strip() for line in lines]
    return [requirement for requirement in requirements if requirement]


def pins_of(file: str) -> dict[str, Version]:
    matches = [PIN.fullmatch(line) for line in requirements_of(file)]
    return {match[1]: Version(match[2]) for match in matches if match}


def dependencies(*extras: str) -> list[Requirement]:
    declared = list(PROJECT["dependencies"])
    for extra in extras:
        declared += EXTRAS[extra]
    return [Requirement(line) for line in declared]


@pytest.mark.parametrize("file", [CORE, DEV])
def test_every_requirement_is_one_exact_version_or_the_package_itself(
    file: str,
) -> None:
    requirements = requirements_of(file)
    others = [line for line in requirements if not PIN.fullmatch(line)]
    assert others == [ITSELF]
    assert len(pins_of(file)) == len(requirements) - 1, "a package is named twice"


@pytest.mark.parametrize(("file", "extras"), [(CORE, []), (DEV, INSTALLED)])
def test_every_dependency_is_pinned_within_its_range(
    file: str, extras: list[str]
) -> None:
    pins = pins_of(file)
    stale = []
    for dependency in dependencies(*extras):
        pin = pins.get(canonicalize_name(dependency.name))
        if pin is None or pin not in dependency.specifier:
            stale.append(f"{dependency} (pinned: {pin})")
    assert not stale, f"{file} does not match pyproject.toml: run `make requirements`"


def test_the_tests_use_the_versions_that_train() -> None:
    assert pins_of(CORE).items() <= pins_of(DEV).items()


@pytest.mark.parametrize("file", [CORE, DEV])
def test_torch_is_one_release_for_every_accelerator(file: str) -> None:
    assert "torch==2.13.0" in requirements_of(file)
    only_cuda = ("nvidia", "cuda", "triton")
    assert not [name for name in pins_of(file) if name.startswith(only_cuda)]


@pytest.mark.parametrize("file", [CORE, DEV])
def test_compiled_files_name_no_host_and_no_path(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not re.findall(r".*(?:/|\\|@|--).*", text)


@pytest.mark.slow
def test_every_imported_library_is_declared() -> None:
    distributions = importlib.metadata.packages_distributions()
    extras = [extra for extra in EXTRAS if extra != "dev"]
    declared = {canonicalize_name(line.name) for line in dependencies(*extras)}
    declared.add(PROJECT["name"])
    undeclared = set()
    for library in imported_libraries() - sys.stdlib_module_names:
        providers = distributions.get(library, [library])
        if not declared & {canonicalize_name(name) for name in providers}:
            undeclared.add(library)
    assert not undeclared, "add them to the dependencies in pyproject.toml"


def imported_libraries() -> set[str]:
    names = set()
    for file in [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_the_source_distribution_names_files_that_exist() -> None:
    included = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert not [path for path in included if not (ROOT / path.lstrip("/")).exists()]
    assert {"/conf", "/scripts", "/src", "/tests"} <= set(included)


def test_the_citation_describes_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert citation["message"]
    assert citation["type"] == "software"


def test_the_workflow_runs_the_checks_on_supported_versions_of_python() -> None:
    file = ROOT / ".github" / "workflows" / "ci.yml"
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert steps == [".ci/run"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert versions[0] == lowest
    caches = [step["with"] for step in job["steps"] if "cache@" in step.get("uses", "")]
    assert [cache["path"] for cache in caches] == [".venv"]
    assert "hashFiles('requirements-dev.txt'" in caches[0]["key"]


def test_the_example_of_the_environment_sets_nothing() -> None:
    file = ROOT / ".env.example"
    assert dotenv_values(file) == {}
    uncommented = re.sub(r"^# (?=[A-Z_]+=$)", "", file.read_text(), flags=re.M)
    names = re.findall(r"^([A-Z_]+)=$", uncommented, flags=re.M)
    assert {"HF_TOKEN", "WANDB_API_KEY", "OSTINATO_CACHE"} <= set(names)
