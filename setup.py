"""List the packages; everything else is in pyproject.toml.

``kernels/`` is a top-level folder that installs as ``topoact_gpu.kernels``. setuptools has no
static way to say "this folder and whatever lies in it, under another name", hence these lines.
"""

from setuptools import find_packages, setup

INSTALLED_AS = "topoact_gpu.kernels"

setup(
    packages=[
        *find_packages(include=["topoact_gpu", "topoact_gpu.*"], exclude=[f"{INSTALLED_AS}*"]),
        INSTALLED_AS,
        *(f"{INSTALLED_AS}.{op}" for op in find_packages("kernels")),
    ]
)
