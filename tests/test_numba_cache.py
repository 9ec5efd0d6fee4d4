"""Compiled kernels have a place to go, and are forgotten when what they rest on changes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from topoact_gpu import _numba_cache

PACKAGE = "somewhere.kernels"


@pytest.fixture
def kernels(tmp_path):
    """A package of three operations: above rests on below, apart on nothing."""
    folder = tmp_path / "kernels"
    for op, text in {
        "below": "VALUE = 1\n",
        "above": f"from {PACKAGE}.below.cpu import VALUE\n",
        "beside": "from ..below import cpu\n",
        "apart": "import math\n",
    }.items():
        (folder / op / "__pycache__").mkdir(parents=True)
        (folder / op / "__init__.py").touch()
        (folder / op / "cpu.py").write_text(text)
        for ending in ("nbi", "1.nbc"):
            (folder / op / "__pycache__" / f"cpu.run-3.py311.{ending}").touch()
    (folder / "__init__.py").touch()
    (folder / "__pycache__").mkdir()
    return folder


def forget(folder):
    sources = {path: path.read_bytes() for path in sorted(folder.rglob("*.py"))}
    changed = _numba_cache.forget_changed(folder, PACKAGE, sources)
    return sorted(path.parent.name for path in changed if path.name == "cpu.py")


def compiled(folder):
    return sorted({path.parent.parent.name for path in folder.rglob("*.nb[ic]")})


def test_unknown_kernels_are_forgotten_once(kernels):
    assert forget(kernels) == ["above", "apart", "below", "beside"]
    assert compiled(kernels) == []
    assert forget(kernels) == []


def test_a_change_reaches_what_rests_on_it_and_nothing_else(kernels):
    forget(kernels)
    for op in ("below", "above", "beside", "apart"):
        (kernels / op / "__pycache__" / "cpu.run-3.py311.nbi").touch()
    (kernels / "below" / "cpu.py").write_text("VALUE = 2\n")
    assert forget(kernels) == ["above", "below", "beside"]
    assert compiled(kernels) == ["apart"]


def test_a_new_date_alone_changes_nothing(kernels):
    forget(kernels)
    os.utime(kernels / "below" / "cpu.py", (1, 1))
    assert forget(kernels) == []


@pytest.mark.parametrize("record", ["", "[1]", "{"])
def test_a_broken_record_or_source_is_no_fault(kernels, record):
    (kernels / "__pycache__" / "numba-sources.json").write_text(record)
    (kernels / "above" / "cpu.py").write_text("def (")
    assert forget(kernels) == ["above", "apart", "below", "beside"]


def test_the_users_choice_is_left_alone(kernels, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/their/choice")
    _numba_cache.prepare(kernels, PACKAGE)
    assert os.environ["NUMBA_CACHE_DIR"] == "/their/choice"
    assert compiled(kernels) != []


def test_a_writable_package_needs_no_other_place(kernels, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    _numba_cache.prepare(kernels, PACKAGE)
    assert "NUMBA_CACHE_DIR" not in os.environ


@pytest.fixture
def refuse(monkeypatch):
    """Make folders below the given ones look read-only (root may write anywhere, so no chmod)."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    honest = _numba_cache._is_writable

    def install(*folders):
        def answer(folder):
            return not any(folder.is_relative_to(one) for one in folders) and honest(folder)

        monkeypatch.setattr(_numba_cache, "_is_writable", answer)

    return install


def test_a_read_only_package_uses_the_users_cache(kernels, refuse, monkeypatch, tmp_path):
    refuse(kernels)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    _numba_cache.prepare(kernels, PACKAGE)
    first = Path(os.environ["NUMBA_CACHE_DIR"])
    assert first.parent == tmp_path / "xdg" / "topoact-gpu" / "numba"
    (kernels / "below" / "cpu.py").write_text("VALUE = 3\n")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    _numba_cache.prepare(kernels, PACKAGE)
    assert Path(os.environ["NUMBA_CACHE_DIR"]) != first


def test_home_is_used_without_xdg(refuse, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert _numba_cache.writable_cache() == tmp_path / ".cache" / "topoact-gpu" / "numba"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners are a POSIX notion")
def test_the_last_resort_is_private(refuse, monkeypatch, tmp_path):
    refuse(tmp_path / "xdg")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(_numba_cache.tempfile, "tempdir", str(tmp_path))
    first = _numba_cache.writable_cache()
    assert first.parent == tmp_path
    assert first.stat().st_mode & 0o077 == 0
    first.chmod(0o777)  # as if somebody else had made it first
    assert _numba_cache.writable_cache() != first


def test_numba_compiles_where_it_was_told(tmp_path):
    """numba itself follows, even when it was imported before the kernels."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "one.py").write_text(
        "from numba import njit\n\n\n@njit(cache=True)\ndef one():\n    return 1\n"
    )
    script = f"""
        import sys, numba
        from pathlib import Path
        from topoact_gpu import _numba_cache
        here = Path({str(tmp_path)!r}) / "kernels"
        honest = _numba_cache._is_writable
        _numba_cache._is_writable = lambda f: not f.is_relative_to(here) and honest(f)
        _numba_cache.prepare(here, "kernels_elsewhere")
        sys.path.insert(0, str(here))
        import one
        one.one()
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "xdg"), "NUMBA_CACHE_DIR": ""}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert list((tmp_path / "xdg" / "topoact-gpu" / "numba").rglob("one.one-*.nbi"))
    assert not list((tmp_path / "kernels").rglob("*.nbi"))
