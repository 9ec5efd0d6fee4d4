"""The photographs that the scikit-image and scikit-learn wheels ship: real images, offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import ParameterError

__all__ = ["PHOTOS", "package_folder", "photo_path"]

# Every colour photograph inside the two wheels. The motorcycle is a stereo pair: two nearly equal
# photographs, kept because they show what nearly equal inputs look like in a graph.
PHOTOS = {
    "astronaut": ("skimage", "astronaut.png"),
    "chelsea": ("skimage", "chelsea.png"),
    "china": ("sklearn", "china.jpg"),
    "coffee": ("skimage", "coffee.png"),
    "flower": ("sklearn", "flower.jpg"),
    "hubble_deep_field": ("skimage", "hubble_deep_field.jpg"),
    "ihc": ("skimage", "ihc.png"),
    "motorcycle_left": ("skimage", "motorcycle_left.png"),
    "motorcycle_right": ("skimage", "motorcycle_right.png"),
    "retina": ("skimage", "retina.jpg"),
    "rocket": ("skimage", "rocket.jpg"),
}
_FOLDERS = {"skimage": ("data",), "sklearn": ("datasets", "images")}
_PROJECTS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


def photo_path(package: str, name: str) -> Path:
    """Where an installed wheel keeps a photograph.

    Parameters
    ----------
    package : {"skimage", "sklearn"}
    name : str
        File name, as in ``PHOTOS``.

    Examples
    --------
    >>> photo_path(*PHOTOS["china"]).name
    'china.jpg'
    """
    return package_folder(package).joinpath(*_FOLDERS[package], name)


def package_folder(package: str) -> Path:
    """Folder of an installed package, found without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        project = _PROJECTS.get(package, package)
        raise ParameterError(
            f"these inputs come with {project}, which is not installed; pip install {project}"
        )
    return Path(found.submodule_search_locations[0])
