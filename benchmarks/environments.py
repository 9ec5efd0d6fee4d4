"""An environment for each peer, outside the tree: their pins clash with ours and each other's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Python", "pythons"]

# giotto-tda 0.6.2 pins scikit-learn 1.3.2; tda-mapper 0.12 needs numpy below 2.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "kepler": ("kmapper==2.1.0", "scikit-learn>=1.6"),
    "gudhi": ("gudhi==3.13.0", "scikit-learn>=1.6", "matplotlib", "networkx"),
    "zen": ("zen-mapper==0.3.0", "scikit-learn>=1.6", "networkx"),
    "giotto": ("giotto-tda==0.6.2", "plotly<6"),
    "tda": ("tda-mapper==0.12.0", "numpy<2", "scikit-learn>=1.6"),
}
# Peers whose pins agree share one environment.
SHARED = {"kepler": "common", "gudhi": "common", "zen": "common"}


@dataclass(frozen=True)
class Python:
    """An interpreter that has a peer, or the reason why there is none."""

    path: str
    reason: str = ""


def pythons(cache: Path, functions: set[str]) -> dict[str, Python]:
    """Make the environments these contestants need.

    Parameters
    ----------
    cache : Path
        Environments go to ``<cache>/environments``; a finished one is used again.
    functions : set of str
        Keys of `benchmarks.peers.CONTESTANTS`; ``topoact`` uses the running interpreter.

    Returns
    -------
    dict
        For each contestant its interpreter; with an empty path where it would not install.
    """
    found = {}
    made: dict[str, Python] = {}
    for name in sorted(functions):
        if name not in REQUIREMENTS:
            found[name] = Python(sys.executable)
            continue
        group = SHARED.get(name, name)
        if group not in made:
            made[group] = _environment(Path(cache) / "environments", group)
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
    for command in (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-cache-dir", "--only-binary=:all:", *lines],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            return Python("", " ".join(reason) or f"exit code {done.returncode}")
    finished.write_text("\n".join(lines) + "\n")
    return Python(str(python))
