"""An asset is fetched once, verified, kept whole, and then needs neither network nor pip.

A folder of wheels that each test makes stands for the index; pip, processes and the file system are real.
"""

import hashlib
import os
import resource
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.data import assets
from ostinato.data.assets import Wheel, fetch
from ostinato.errors import AssetError

ROOT = "made_up/data"
FILES = {"a.txt": b"first\n", "b.bin": bytes(range(256)) * 4000}


def build_wheel(index: Path, members: dict[str, bytes]) -> str:
    """Writes a wheel that pip accepts; returns its SHA-256."""
    info = "made_up-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    file = index / "made_up-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**members, **metadata}.items():
            archive.writestr(name, content)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can see; the cache lies beside it."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": os.devnull,
        "OSTINATO_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(Path(assets.__file__).parents[2]),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


def made_up(
    index: Path,
    members: tuple[str, ...] = tuple(FILES),
    extra: dict[str, bytes] | None = None,
) -> Wheel:
    content = (
        {f"{ROOT}/{name}": data for name, data in FILES.items()}
        | {f"{ROOT}/unwanted.txt": b"no"}
        | (extra or {})
    )
    return Wheel("made-up==1.0", build_wheel(index, content), ROOT, members)


def left_in_cache() -> list[str]:
    """Everything below the cache but lock files."""
    cache = assets.cache_dir()
    return sorted(
        str(p.relative_to(cache))
        for p in cache.rglob("*")
        if p.suffix != ".lock" and p.name != ".in_use"
    )


def fetch_in_process(wheel: Wheel, before: str = "") -> subprocess.Popen[str]:
    code = f"{before}\nfrom ostinato.data.assets import Wheel, fetch\nprint(fetch({wheel!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_unpacks_the_named_members_and_nothing_else(index: Path) -> None:
    folder = fetch(made_up(index))
    assert {p.name for p in folder.iterdir()} == {*FILES, "manifest.json"}
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert [p.name for p in folder.parent.iterdir() if p.suffix != ".lock"] == [
        folder.name
    ]


def test_ten_processes_at_once_run_pip_once(index: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    python = tmp_path / "python"  # stands before the interpreter and counts its calls
    python.write_text(
        f'#!/bin/sh\necho call >> "{calls}"\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    wheel = made_up(index)
    processes = [
        fetch_in_process(wheel, f"import sys; sys.executable = {str(python)!r}")
        for _ in range(10)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, outputs
    assert len({out for out, _ in outputs}) == 1
    assert calls.read_text().count("call") == 1
    assert {
        name: (Path(outputs[0][0].strip()) / name).read_bytes() for name in FILES
    } == FILES


def test_cached_needs_no_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = made_up(index)
    folder = fetch(wheel)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert fetch(wheel) == folder


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda file: file.write_bytes(b"")],
    ids=["deleted", "emptied"],
)
def test_a_lost_file_is_fetched_again(
    index: Path, damage: Callable[[Path], object]
) -> None:
    wheel = made_up(index)
    damage(fetch(wheel) / "b.bin")
    assert (fetch(wheel) / "b.bin").read_bytes() == FILES["b.bin"]


def test_what_a_killed_process_left_does_not_hinder(index: Path) -> None:
    wheel = made_up(index)
    partial = assets.cache_dir() / "assets" / f"{wheel.key}.partial" / "files"
    partial.mkdir(parents=True)
    (partial / "a.txt").write_bytes(b"half")
    assert (fetch(wheel) / "a.txt").read_bytes() == FILES["a.txt"]
    assert not partial.exists()


def test_a_wrong_hash_is_refused_and_leaves_nothing(index: Path) -> None:
    wheel = made_up(index)
    build_wheel(index, {f"{ROOT}/a.txt": b"tampered", f"{ROOT}/b.bin": b""})
    with pytest.raises(AssetError, match=f"SHA-256.*pinned is {wheel.sha256}"):
        fetch(wheel)
    assert left_in_cache() == ["assets"]


def test_no_network_is_one_line_and_leaves_nothing(index: Path) -> None:
    with pytest.raises(
        AssetError,
        match=r"made-up==1\.0: pip could not download it.*No matching distribution",
    ) as caught:
        fetch(Wheel("made-up==1.0", "0" * 64, ROOT, ("a.txt",)))
    assert "\n" not in str(caught.value)
    assert left_in_cache() == ["assets"]


def test_a_member_that_the_wheel_lacks_leaves_nothing(index: Path) -> None:
    with pytest.raises(AssetError, match="not the expected wheel"):
        fetch(made_up(index, ("a.txt", "gone.txt")))
    assert left_in_cache() == ["assets"]


@pytest.mark.parametrize("name", ["../../evil.txt", "/evil.txt", "..", "sub/evil.txt"])
def test_no_member_can_leave_the_cache(index: Path, tmp_path: Path, name: str) -> None:
    wheel = made_up(
        index, ("a.txt", name), {f"{ROOT}/{name}": b"evil", "../../evil.txt": b"evil"}
    )
    with pytest.raises(AssetError, match="would leave the cache"):
        fetch(wheel)
    assert left_in_cache() == ["assets"]
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_archive_entry_that_points_outside_is_never_written(
    index: Path, tmp_path: Path
) -> None:
    fetch(made_up(index, extra={"../../../evil.txt": b"evil", "/evil.txt": b"evil"}))
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_full_disk_is_one_line_and_leaves_nothing(index: Path) -> None:
    # The limit on file size is set when pip is through, so that unpacking is what fails.
    wheel = made_up(index)
    before = (
        "import resource, ostinato.data.assets as assets\n"
        "verify = assets._verify\n"
        "def limited(*args):\n"
        "    verify(*args)\n"
        f"    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "assets._verify = limited"
    )
    process = fetch_in_process(wheel, before)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "AssetError: cannot write to the cache" in error.splitlines()[-1]
    assert "OSTINATO_CACHE" in error
    assert left_in_cache() == ["assets"]


def test_a_cache_that_cannot_be_made_is_named(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match=r"cannot write to the cache .*file/assets"):
        fetch(made_up(index))


def test_the_cache_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert assets.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("OSTINATO_CACHE")
    assert assets.cache_dir() == tmp_path / "xdg" / "ostinato"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert assets.cache_dir() == tmp_path / ".cache" / "ostinato"


def test_names_lead_to_files_and_hashes(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = made_up(index)
    monkeypatch.setattr(assets, "_MODELS", {"tiny": wheel})
    monkeypatch.setattr(
        assets, "_DATA", {"toy": (wheel, {"train": "a.txt", "test": "b.bin"})}
    )
    assert (assets.fetch_model("tiny") / "a.txt").read_bytes() == FILES["a.txt"]
    assert {
        split: file.read_bytes() for split, file in assets.fetch_data("toy").items()
    } == {
        "train": FILES["a.txt"],
        "test": FILES["b.bin"],
    }
    hashes = {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
    assert assets.asset_hashes("tiny") == assets.asset_hashes("toy") == hashes


@pytest.mark.parametrize(
    ("get", "name", "guess"),
    [
        (assets.fetch_data, "reuters8", "reuters_r8"),
        (assets.fetch_model, "minilm-l6-v2", "all-MiniLM-L6-v2"),
    ],
)
def test_an_unknown_name_says_what_was_meant(
    get: Callable[[str], object], name: str, guess: str
) -> None:
    with pytest.raises(
        AssetError, match=rf"{name}: no such asset \(did you mean {guess}\?\)"
    ):
        get(name)


def test_import_stays_light() -> None:
    heavy = {"numpy", "torch", "pyarrow", "pip", "filelock"}
    code = f"import sys, ostinato.data.assets; print(*({heavy} & {{*sys.modules}}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(assets.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.strip() == ""
