"""What the README says is so: its commands run, its table of keys and its trees are those of the project."""

import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from preloaded import python

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from document_keys import with_table
from runs import DEBUG

from ostinato.cli.composition import register_schemas

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BASH = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
COMMANDS = [
    line.split(" #")[0].strip()
    for block in BASH
    for line in block.splitlines()
    if "scripts/" in line
]
ELSEWHERE = {
    "python scripts/train.py model=bert_base data=sst2": "test_hub.py serves the hub",
    "python scripts/train.py": "the default job: what .ci/run's user runs as `make train`",
    "python scripts/train.py -m sweep=resume": "test_sweep.py kills a sweep first",
    "python scripts/train.py -m launcher=joblib hydra.launcher.n_jobs=2 seed=1,2,3,4,5,6": "test_launchers.py",
    "python scripts/train.py -m search=optuna 'training.lr=tag(log,interval(1e-5,2e-4))'": "test_search.py",
    "python scripts/compare.py runs='[outputs/multirun/a,outputs/multirun/b]'": "test_compare.py makes the sweeps",
    "python scripts/crash_test.py kills=20": "test_commands.py kills two small runs",
    "python scripts/benchmark.py turns=3": "test_commands.py measures a small run",
}
SMALL = ["model=tiny", "training.epochs=1", "training.device=cpu", "training.threads=1"]
NO_PICTURES = "tracker=jsonl"  # which take longer than these runs


def test_the_table_of_keys_is_up_to_date():
    register_schemas()
    assert with_table(README) == README, "run: make docs"


def test_the_source_tree_names_every_folder_and_nothing_else():
    tree = README.split("## The source tree")[1].split("\n## ")[0]
    named = set(re.findall(r"^      (\w+(?:\.py|/)) ", tree, flags=re.M))
    inside = [
        path
        for path in (ROOT / "src" / "ostinato").iterdir()
        if path.name[:2] not in ("__", "py")
    ]
    assert named == {f"{path.name}/" if path.is_dir() else path.name for path in inside}


def test_every_module_named_by_a_command_is_there():
    for command in COMMANDS:
        script = re.search(r"scripts/\w+\.py", command)[0]
        assert (ROOT / script).is_file(), command


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as a user's: the scripts, files of one's own, and a finished run."""
    place = tmp_path_factory.mktemp("user")
    (place / "scripts").symlink_to(ROOT / "scripts")
    rows = "text,label\n" + "".join(
        f"{'rain' if n % 2 else 'goal'} and more {n},{'ab'[n % 2]}\n" for n in range(40)
    )
    (place / "my").mkdir()
    for name in ("my/train.csv", "my/test.csv", "new.csv"):
        (place / name).write_text(rows)
    (place / "other.csv").write_text("text,label\nIt will rain tomorrow.,weather\n")
    finished = run(
        f"python scripts/train.py {shlex.join(DEBUG)} {NO_PICTURES} hydra.run.dir=outputs/run",
        place,
    )
    assert finished.returncode == 0, finished.stderr
    return place


def run(command, place):
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("python ", f"{python()} ")],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_every_command_runs(workplace):
    commands = [c for c in dict.fromkeys(COMMANDS) if c not in ELSEWHERE]
    in_turn = [c for c in commands if "export.py" in c or "backend=onnx" in c]
    in_turn += [
        c for c in commands if "resume=" in c
    ]  # writes into the run that the others read
    with ThreadPoolExecutor(2) as pool:
        side_by_side = [c for c in commands if c not in in_turn]
        done = dict(
            zip(
                side_by_side,
                pool.map(lambda c: run(small(c), workplace), side_by_side),
                strict=True,
            )
        )
    done |= {c: run(small(c), workplace) for c in in_turn}
    assert len(done) >= 10
    assert {c: d.stdout + d.stderr for c, d in done.items() if d.returncode != 0} == {}


def small(command):
    """The command, on the folder's run, or on data and a model that take seconds."""
    command = command.replace("<run>", "run")
    if "train.py" in command and "resume" not in command:
        command += " " + shlex.join(
            SMALL if "data=files" in command else [o for o in DEBUG if o not in command]
        )
        command += f" {NO_PICTURES}"
    return command
