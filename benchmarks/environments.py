"""An environment for each peer, outside the tree: their pins clash with ours and each other's.

Ours gets one, too, to be measured as ``pip install`` leaves it, without torch.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["NO_TORCH", "Python", "pythons"]

ROOT = Path(__file__).resolve().parent.parent
NO_TORCH = "topoact-notorch"

# giotto-tda 0.6.2 pins scikit-learn 1.3.2; tda-mapper 0.12 needs numpy below 2.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "kepler": ("kmapper==2.1.0", "scikit-learn>=1.6"),
    "gudhi": ("gudhi==3.13.0", "scikit-learn>=1.6", "matplotlib", "networkx"),
    "zen": ("zen-mapper==0.3.0", "scikit-learn>=1.6", "networkx"),
    "giotto": ("giotto-tda==0.6.2", "plotly<6"),
    "tda": ("tda-mapper==0.12.0", "numpy<2", "scikit-learn>=1.6"),
    NO_TORCH: (),
}
# Peers whose pins agree share one environment.
SHARED = {"kepler": "common", "gudhi": "common", "zen": "common"}
# What our wheel is made of.
SOURCES = ("topoact_gpu", "kernels", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@dataclass(frozen=True)
class Python:
    """An interpreter that has a contestant, or the reason why there is none.

    Attributes
    ----------
    path : str
        Empty: there is none.
    reason : str
    folder : Path
        Where to run it: an installed topoact-gpu is imported only where no checkout lies.
    """

    path: str
    reason: str = ""
    folder: Path = ROOT


def pythons(cache: Path, names: set[str]) -> dict[str, Python]:
    """Make the environments these contestants need.

    Parameters
    ----------
    cache : Path
        Environments go to ``<cache>/environments``; a finished one is used again.
    names : set of str
        Keys of `REQUIREMENTS`; others, such as ``topoact``, use the running interpreter.

    Returns
    -------
    dict
        For each contestant its interpreter; with an empty path where it would not install.
    """
    found = {}
    made: dict[str, Python] = {}
    for name in sorted(names):
        if name not in REQUIREMENTS:
            found[name] = Python(sys.executable)
            continue
        group = SHARED.get(name, name)
        if group not in made:
            make = _own_environment if group == NO_TORCH else _environment
            made[group] = make(Path(cache) / "environments", group)
        found[name] = made[group]
    return found


def _requirements(group: str) -> list[str]:
    members = [name for name in REQUIREMENTS if SHARED.get(name, name) == group]
    return sorted({line for name in members for line in REQUIREMENTS[name]})


def _environment(folder: Path, group: str) -> Python:
    """Make one environment unless a finished one with the same requirements is there."""
    lines = _requirements(group)
    digest = hashlib.sha256("\n".join([sys.version, *lines]).encode()).hexdigest()[:10]
    home = folder / f"{group}-{digest}"
    python = home / "bin" / "python"
    finished = home / "finished"
    if finished.exists():
        return Python(str(python))
    print(f"installing {', '.join(lines)}")
    shutil.rmtree(home, ignore_errors=True)
    commands = [[sys.executable, "-m", "venv", str(home)], _pip(python, *lines)]
    if reason := _failure(commands):
        return Python("", reason)
    finished.write_text("\n".join(lines) + "\n")
    return Python(str(python))


def _pip(python: Path, *words: str) -> list[str]:
    return [
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-cache-dir", "--only-binary=:all:", *words,
    ]  # fmt: skip


def _failure(commands: list[list[str]]) -> str:
    """Run commands until one fails; the last line it said, or nothing when none does."""
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            return " ".join(reason) or f"exit code {done.returncode}"
    return ""


def _own_environment(folder: Path, group: str) -> Python:
    """An environment with the checkout as a plain ``pip install`` leaves it; anew if it changed."""
    place = hashlib.sha256(f"{sys.version}{ROOT}".encode()).hexdigest()[:6]
    digest = sources_digest(ROOT)
    home = folder / f"{group}-{place}-{digest}"
    python, finished, outside = home / "bin" / "python", home / "finished", home / "outside"
    if not finished.exists():
        print("installing this checkout, without torch")
        for old in folder.glob(f"{group}-{place}-*"):
            shutil.rmtree(old)
        # pip builds where the sources are, so it gets a copy and the checkout stays clean.
        with tempfile.TemporaryDirectory() as copy:
            _copy_sources(ROOT, Path(copy))
            commands = [[sys.executable, "-m", "venv", str(home)], _pip(python, copy)]
            if reason := _failure(commands):
                return Python("", reason)
        outside.mkdir()
        (outside / "benchmarks").symlink_to(ROOT / "benchmarks", target_is_directory=True)
        finished.write_text(f"{digest}\n")
    return Python(str(python), folder=outside)


def _source_files(root: Path) -> list[Path]:
    """Files the wheel is made of; the link ``topoact_gpu/kernels`` is not followed."""
    found = []
    for name in SOURCES:
        path = root / name
        inside = path.rglob("*") if path.is_dir() else [path]
        found += [each for each in inside if each.is_file() and "__pycache__" not in each.parts]
    return sorted(each for each in found if root / "topoact_gpu" / "kernels" not in each.parents)


def sources_digest(root: Path) -> str:
    """Changes whenever what would be installed does."""
    digest = hashlib.sha256()
    for path in _source_files(root):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:10]


def _copy_sources(root: Path, target: Path) -> None:
    for path in _source_files(root):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
