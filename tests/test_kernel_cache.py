"""The kernels' cache: a library is loaded only as it was built, from a private folder; nothing is left over."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_compiled import needs_compiler

from core import kernel_cache, native

ROOT = Path(__file__).parents[1]
#: a library that leaves a file behind when it is loaded
PLANTED = """
#include <cstdlib>
__attribute__((constructor)) static void run() { std::system("touch %s"); }
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A compiler that hardly optimises, as what it makes is not used, and a cache in which it has built a library."""
    place = tmp_path_factory.mktemp("built")
    (place / "compiler").write_text('#!/bin/sh\nexec g++ "$@" -O1\n')
    (place / "compiler").chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        patch.setenv("CXX", str(place / "compiler"))
        native.library.cache_clear()
        native.library(torch.float64)
        native.library.cache_clear()
        yield place / "policy-ablation"


@pytest.fixture
def cache(built, monkeypatch, tmp_path):
    """The folder of a cache of its own, with one library in it."""
    shutil.copytree(built, tmp_path / built.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / built.name


def loads(cache: Path) -> list[str]:
    """Load the library in another process, which a planted one would be run in; the files of the cache then."""
    code = "import torch; from core import native; native.library(torch.float64)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return sorted(path.name for path in cache.iterdir())


def planted(tmp_path: Path) -> tuple[bytes, Path]:
    """The content of a library that must not be loaded, and the file that it would leave."""
    marker, source, built = tmp_path / "marker", tmp_path / "planted.cpp", tmp_path / "planted.so"
    source.write_text(PLANTED % marker)
    subprocess.run(["g++", "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    return built.read_bytes(), marker


@needs_compiler
class TestALibraryIsLoadedAsItWasBuilt:
    def test_it_is_kept_and_found(self, cache):
        (before,) = cache.iterdir()
        made = before.stat().st_mtime_ns
        assert native.is_built(torch.float64)
        assert loads(cache) == [before.name]
        assert before.stat().st_mtime_ns == made

    @pytest.mark.parametrize("damage", ["cut", "flipped", "link", "directory", "by others"])
    def test_a_damaged_one_is_built_anew(self, cache, damage):
        (path,) = cache.iterdir()
        content = path.read_bytes()
        match damage:
            case "cut":
                path.write_bytes(content[: len(content) // 2])
            case "flipped":
                middle = len(content) // 2
                path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            case "link":
                path.rename(path.with_suffix(".elsewhere"))
                path.symlink_to(path.with_suffix(".elsewhere"))
            case "directory":
                path.unlink()
                (path / "within").mkdir(parents=True)
            case "by others":
                path.chmod(0o666)
        # not found, so that loading it cannot end this process
        assert not native.is_built(torch.float64)
        native.library(torch.float64)
        native.library.cache_clear()
        assert path.is_file()
        assert not path.is_symlink()
        assert path.read_bytes() == content
        assert native.is_built(torch.float64)

    def test_a_planted_one_never_runs(self, cache, tmp_path):
        (path,) = cache.iterdir()
        evil, marker = planted(tmp_path)
        path.write_bytes(evil)
        # as earlier versions named it
        (cache / f"{path.stem.rpartition('-')[0]}.so").write_bytes(evil)
        assert loads(cache) == [path.name]
        assert not marker.exists()
        assert path.read_bytes() != evil

    def test_one_planted_with_its_digest_where_others_may_write_never_runs(self, cache, tmp_path):
        (path,) = cache.iterdir()
        content, marker = planted(tmp_path)
        path.unlink()
        (tmp_path / "evil").write_bytes(content)
        key = path.stem.rpartition("-")[0]
        kernel_cache.keep(tmp_path / "evil", cache, key)
        cache.chmod(0o777)
        assert loads(cache) == [path.name]
        assert not marker.exists()
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700


class TestTheFolder:
    def test_it_is_private(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new" / "below"))
        assert stat.S_IMODE(kernel_cache.folder().stat().st_mode) == 0o700

    @pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
    def test_that_of_another_user_is_refused_in_a_line(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        kernel_cache.folder()
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        native.library.cache_clear()
        with pytest.raises(native.NoCompiler, match="this user alone can write; set XDG_CACHE_HOME") as refused:
            native.library(torch.float64)
        assert "\n" not in str(refused.value)

    def test_a_link_is_refused(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "policy-ablation").symlink_to("elsewhere")
        with pytest.raises(PermissionError, match="set XDG_CACHE_HOME"):
            kernel_cache.folder()


@needs_compiler
def test_what_a_killed_compilation_leaves_goes_with_the_next(cache, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\ncase "$*" in *-o*) exec sleep 60;; esac\n')
    compiler.chmod(0o700)
    code = "import torch; from core import native; native.library(torch.float64)"
    slow = {**os.environ, "CXX": str(compiler)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=slow, start_new_session=True) as running:
        deadline = time.monotonic() + 60
        while not list(cache.glob("building-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        (left,) = cache.glob("building-*")
        # of a compilation under way nothing is taken
        with kernel_cache.workplace(cache):
            assert left.exists()
        os.killpg(running.pid, signal.SIGKILL)
    assert left.exists()
    (cache / "tmpabcdefgh").mkdir()
    (library,) = cache.glob("*.so")
    library.unlink()
    assert loads(cache) == [library.name]
