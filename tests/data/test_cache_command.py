"""scripts/cache.py lists the cache and deletes unused entries, but nothing else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ostinato.config import CacheConfig
from ostinato.data import assets, cache
from ostinato.data.wheels import Wheel
from ostinato.errors import AssetError
from ostinato.record.digests import digest_file

ROOT = Path(__file__).parents[2]
DAY = 24 * 60 * 60


def make(path, days_ago, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    used(path, days_ago)
    return path


def used(path, days_ago):
    os.utime(path, (time.time() - days_ago * DAY,) * 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("OSTINATO_CACHE", str(folder))
    make(folder / "rows" / f"{'a' * 64}.arrow", 40, "rows")
    make(folder / "rows" / f"{'b' * 64}.arrow", 1)
    make(folder / "tokens" / f"{'c' * 32}.arrow", 40)
    make(folder / "tokens" / f"{'c' * 32}.lock", 40, "")
    make(folder / "tokens" / f"{'d' * 32}_00000_of_00002.arrow", 40)
    make(folder / "assets" / f"wheel-1.0-{'e' * 12}" / "manifest.json", 40)
    make(folder / "assets" / f"wheel-1.0-{'e' * 12}" / "model.safetensors", 40)
    used(folder / "assets" / f"wheel-1.0-{'e' * 12}", 40)
    return folder


def names(found):
    return {entry.path.name[:1] for entry in found}


def left(folder):
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }


def test_entries_have_kind_size_and_last_use(folder):
    found = {entry.path.name[0]: entry for entry in cache.entries()}
    assert {name: entry.kind for name, entry in found.items()} == {
        "a": "rows",
        "b": "rows",
        "c": "tokens",
        "d": "tokens",
        "w": "assets",
    }
    assert found["a"].size == 4
    assert found["w"].size == 2
    assert time.time() - found["a"].last_used == pytest.approx(40 * DAY, abs=60)


def test_pruning_by_age_keeps_what_was_used_later(folder):
    deleted = cache.prune(CacheConfig(prune="30"))
    assert names(deleted) == {"a", "c", "d", "w"}
    assert left(folder) == {f"rows/{'b' * 64}.arrow", ".in_use"}, (
        "the lock of deleted tokens is deleted as well"
    )


@pytest.mark.parametrize("touched", ["manifest", "lock"])
def test_a_manifest_or_lock_records_the_last_use(touched, folder):
    kept = {"manifest": "w", "lock": "c"}[touched]
    used(next(folder.rglob("manifest.json" if touched == "manifest" else "c*.lock")), 0)
    assert kept not in names(cache.prune(CacheConfig(prune="30")))


def test_a_dry_run_deletes_nothing(folder):
    before = left(folder)
    assert names(cache.prune(CacheConfig(prune="all", dry_run=True))) == set("abcdw")
    assert left(folder) - {".in_use"} == before


def test_pruning_all_keeps_files_that_the_program_did_not_make(folder, tmp_path):
    foreign = [
        make(folder / place, 400)
        for place in ("thesis.txt", "rows/notes.arrow", "assets/a/b", "models/x.bin")
    ]
    outside = make(tmp_path / "outside" / f"{'f' * 64}.arrow", 400)
    (folder / "rows" / f"{'f' * 64}.arrow").symlink_to(outside)
    (folder / "assets" / f"link-{'f' * 12}").symlink_to(outside.parent)
    cache.prune(CacheConfig(prune="all"))
    assert all(path.exists() for path in [*foreign, outside])
    assert [entry.path for entry in cache.entries()] == []


def test_a_linked_folder_of_the_cache_is_not_followed(tmp_path, monkeypatch):
    outside = make(tmp_path / "outside" / f"{'f' * 64}.arrow", 400)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "rows").symlink_to(outside.parent)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    assert cache.prune(CacheConfig(prune="all")) == []
    assert outside.exists()


def test_leftovers_of_killed_processes_are_deleted_at_any_age(folder):
    make(folder / "rows" / ".ab3_x9zz" / "rows.arrow", 0)
    make(folder / "tokens" / "tmpab3_x9zz", 0)
    make(folder / "assets" / f"wheel-1.0-{'e' * 12}.partial" / "wheel" / "x.whl", 0)
    deleted = cache.prune(CacheConfig(prune="1000"))
    assert sorted(entry.path.name for entry in deleted) == [
        ".ab3_x9zz",
        "tmpab3_x9zz",
        f"wheel-1.0-{'e' * 12}.partial",
    ]
    assert {entry.kind for entry in deleted} == {"temporary"}
    assert names(cache.entries()) == set("abcdw")


def test_nothing_is_deleted_while_a_process_uses_the_cache(folder):
    code = (
        "from ostinato.data.assets import cache_folder\n"
        "with cache_folder('rows'):\n"
        "    pass\n"
        "print('in use')\n"
        "input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout.readline() == "in use\n"
    before = left(folder)
    with pytest.raises(AssetError, match="a running process uses the cache"):
        cache.prune(CacheConfig(prune="all"))
    assert left(folder) == before
    process.kill()
    process.wait()
    assert names(cache.prune(CacheConfig(prune="all"))) == set("abcdw"), (
        "a killed process does not hold the cache"
    )


def test_using_an_asset_updates_its_last_use(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path))
    wheel = Wheel("wheel==1.0", "0" * 64, "root", ("file",))
    file = make(tmp_path / "assets" / wheel.key / "file", 40)
    stored = {"file": {"bytes": file.stat().st_size, "sha256": digest_file(file)}}
    manifest = make(
        tmp_path / "assets" / wheel.key / "manifest.json", 40, json.dumps(stored)
    )
    used(manifest, 40)
    assets.fetch(wheel)
    assert time.time() - manifest.stat().st_mtime < DAY


@pytest.mark.parametrize("value", ["-1", "1.5", "soon", "²", ""])
def test_prune_must_be_a_number_of_days_or_all(value):
    with pytest.raises(ValueError, match="number of days, or all"):
        CacheConfig(prune=value)


def test_a_cache_that_is_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(make(tmp_path / "file", 0)))
    with pytest.raises(AssetError, match="is not a folder"):
        cache.entries()


def test_a_user_without_a_home_folder_must_name_the_cache(monkeypatch):
    for variable in ("OSTINATO_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    if os.getuid() != 0:
        pytest.skip("only root can run a process as an unknown user")
    code = "import os; from ostinato.data.assets import cache_dir; os.setuid(54321); cache_dir()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].endswith(
        "no folder for the cache: this user has no home folder; set OSTINATO_CACHE to a folder"
    )


@pytest.mark.slow
def test_the_command_lists_then_prunes(folder):
    def run(*arguments):
        command = [sys.executable, str(ROOT / "scripts" / "cache.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("prune=30")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert done.stdout.splitlines()[-1] == f"{folder} lost 4 entries, 0.0 MB"
