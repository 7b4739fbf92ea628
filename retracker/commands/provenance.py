"""What a number depends on beside its data: this code, and the versions of the libraries below it."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import retracker

LIBRARIES = ("retracker", "torch", "numpy", "opencv-python-headless", "pillow", "timm", "kornia", "poselib")


def versions() -> dict[str, str]:
    """A digest of ReTracker's code, and the versions of Python and of the libraries that are installed."""
    found = {"code": code_digest(Path(retracker.__file__).parent), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(folder: Path) -> str:
    """Of all of a folder's source files: it changes whenever any of them does."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
