"""List the packages and build the explorer's page; everything else is in pyproject.toml.

``kernels/`` is a top-level folder that installs as ``topoact_gpu.kernels``. setuptools has no
static way to say "this folder and whatever lies in it, under another name", hence these lines.
"""

import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))
from build_backend import build_page, page_wanted

INSTALLED_AS = "topoact_gpu.kernels"


class BuildPage(Command):
    """``python setup.py build_page``, and a part of every build."""

    description = "build the explorer's page"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        """Nothing to set."""

    def finalize_options(self) -> None:
        """Nothing to set."""

    def run(self) -> None:
        """Build the page where it is wanted."""
        if page_wanted():
            build_page()


class BuildPython(build_py):
    """The package, with the page in it."""

    def run(self) -> None:
        """Build the page first."""
        self.run_command("build_page")
        super().run()


class SourceDistribution(sdist):
    """The sources, with the page in them: who installs from these needs no Node."""

    def run(self) -> None:
        """Build the page first."""
        self.run_command("build_page")
        super().run()


setup(
    packages=[
        *find_packages(include=["topoact_gpu", "topoact_gpu.*"], exclude=[f"{INSTALLED_AS}*"]),
        INSTALLED_AS,
        *(f"{INSTALLED_AS}.{op}" for op in find_packages("kernels")),
    ],
    cmdclass={"build_page": BuildPage, "build_py": BuildPython, "sdist": SourceDistribution},
)
