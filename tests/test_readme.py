"""The README is correct: its commands run, and its table and tree match the project."""

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
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def commands_of(text):
    """The lines in the text's bash blocks that run a script, without their comments."""
    lines = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.S):
        lines += block.splitlines()
    return [line.split(" #")[0].strip() for line in lines if "scripts/" in line]


COMMANDS = commands_of(README)

# Commands that do not run here, with the test that runs them.
ELSEWHERE = {
    "python scripts/train.py model=bert_base data=sst2": "test_hub.py serves the hub",
    "python scripts/train.py": "the default job, which takes minutes",
    "python scripts/train.py -m sweep=resume": "test_sweep.py kills a sweep first",
    "python scripts/train.py -m launcher=joblib hydra.launcher.n_jobs=2 "
    "seed=1,2,3,4,5,6": "test_launchers.py",
    "python scripts/train.py -m search=optuna "
    "'training.lr=tag(log,interval(1e-5,2e-4))'": "test_search.py",
    "python scripts/compare.py runs='[outputs/multirun/a,outputs/multirun/b]'": (
        "test_compare.py makes the sweeps"
    ),
    "python scripts/crash_test.py kills=20": "test_commands.py kills two small runs",
    "python scripts/benchmark.py turns=3": "test_commands.py measures a small run",
}
SMALL = ["model=tiny", "training.epochs=1", "training.device=cpu", "training.threads=1"]
NO_PLOTS = "tracker=jsonl"  # drawing plots takes longer than these runs


def test_the_table_of_keys_is_up_to_date():
    register_schemas()
    assert with_table(README) == README, "run: make docs"


def test_the_source_tree_names_every_folder_and_nothing_else():
    tree = README.split("## The source tree")[1].split("\n## ")[0]
    named = set(re.findall(r"^      (\w+(?:\.py|/)) ", tree, flags=re.M))
    package = ROOT / "src" / "ostinato"
    present = set()
    for path in package.iterdir():
        if path.name[:2] not in ("__", "py"):
            present.add(f"{path.name}/" if path.is_dir() else path.name)
    assert named == present


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_a_script_that_exists(command):
    script = re.search(r"scripts/\w+\.py", command)[0]
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_and_link_in_the_documents_exists(document):
    text = document.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?://)([^)#]+)\)", text)
    missing = [link for link in linked if not (document.parent / link).exists()]
    named = re.findall(r"`((?:src|tests|docs|conf|scripts)/[\w./-]+)`", text)
    missing += [path for path in named if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.slow
def test_the_quoted_mistakes_are_what_the_program_prints(tmp_path):
    block = re.search(r"```console\n\$ (.*?)\n(.*?)```", README, flags=re.S)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    done = run(block[1], tmp_path)
    assert done.returncode == 2
    assert done.stderr == block[2]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder of a user: the scripts, their own files, and a finished run."""
    place = tmp_path_factory.mktemp("user")
    (place / "scripts").symlink_to(ROOT / "scripts")
    rows = "text,label\n"
    for number in range(40):
        word, label = ("rain", "b") if number % 2 else ("goal", "a")
        rows += f"{word} and more {number},{label}\n"
    (place / "my").mkdir()
    for name in ("my/train.csv", "my/test.csv", "new.csv"):
        (place / name).write_text(rows)
    votes = [f"rain {number},0.2,0.8\ngoal {number},1,0\n" for number in range(20)]
    (place / "my" / "votes.csv").write_text("text,p_no,p_yes\n" + "".join(votes))
    (place / "other.csv").write_text("text,label\nIt will rain tomorrow.,weather\n")
    options = f"{shlex.join(DEBUG)} {NO_PLOTS} hydra.run.dir=outputs/run"
    finished = run(f"python scripts/train.py {options}", place)
    assert finished.returncode == 0, finished.stderr
    return place


def run(command, place):
    """Runs a command line in a folder."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("python ", f"{python()} ")],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def small(command):
    """The command, on the folder's run, or on data and a model that take seconds."""
    command = command.replace("<run>", "run")
    trains = "train.py" in command and "resume" not in command
    if not trains:
        return command
    options = [option for option in DEBUG if option not in command]
    if "data=files" in command:
        options = SMALL
    return f"{command} {shlex.join(options)} {NO_PLOTS}"


def runs_alone(command):
    """Whether a command writes into the run that the others read, or reads an export."""
    return any(part in command for part in ("export.py", "backend=onnx", "resume="))


@pytest.mark.slow
def test_every_command_runs(workplace):
    commands = [c for c in dict.fromkeys(COMMANDS) if c not in ELSEWHERE]
    assert len(commands) >= 10
    in_turn = [c for c in commands if runs_alone(c)]
    in_turn.sort(key=lambda command: "resume=" in command)  # resume at the end
    side_by_side = [c for c in commands if not runs_alone(c)]
    done = {}
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda c: run(small(c), workplace), side_by_side)
        done.update(zip(side_by_side, results, strict=True))
    for command in in_turn:
        done[command] = run(small(command), workplace)
    failed = {c: d.stdout + d.stderr for c, d in done.items() if d.returncode != 0}
    assert failed == {}
