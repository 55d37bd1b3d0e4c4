"""The commands of the pages in docs/ are correct. `test_readme.py` runs the README's."""

import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from preloaded import python
from runs import DEBUG
from torch.distributed.run import get_args_parser

from ostinato.cli.composition import register_schemas
from ostinato.cli.mistakes import find_problems

ROOT = Path(__file__).parents[1]
SCRIPT = "scripts/train.py"


def commands():
    """The words of each command in the bash blocks, without comments."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield words


COMMANDS = list(commands())
HERE = [
    words
    for words in COMMANDS
    if words[0] == "python"
    and not any(word.startswith("launcher=") or "auto" in word for word in words)
]


def test_the_docs_have_commands():
    assert len(COMMANDS) >= 8
    assert len(HERE) >= 3


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_free_of_mistakes(words):
    script = words.index(SCRIPT)
    if words[0] == "torchrun":
        assert get_args_parser().parse_args(words[1:]).training_script == SCRIPT
    else:
        assert words[:script] == ["python"]
    overrides = [word for word in words[script + 1 :] if word != "-m"]
    if "launcher=ray" in overrides and find_spec("ray") is None:
        pytest.skip("ray is not installed")
    register_schemas()
    assert find_problems("train", overrides, multirun="-m" in words) == []


@pytest.mark.proof
@pytest.mark.parametrize("words", HERE, ids=" ".join)
def test_a_command_for_one_machine_runs(words, tmp_path):
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    command = [python(), *words[1:], *DEBUG, "training.device=cpu", "tracker=jsonl"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
