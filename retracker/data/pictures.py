"""Single pictures: those of a folder, or the photographs that scikit-image ships."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import UInt8

from retracker.data.cache import DiskCache
from retracker.data.datasets.warped_images import IMAGES, find_files
from retracker.data.storage import Storage
from retracker.data.synthetic.textures import HELD_OUT, TEXTURES, photograph
from retracker.media.image import read_frame


class Pictures(ABC):
    """Numbered pictures. Reading one raises OSError or ValueError, naming the file, if it is broken."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """Enough to find the picture again."""

    @abstractmethod
    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """The picture in RGB."""


class Photographs(Pictures):
    """Those of scikit-image: the ones ``held_out`` from every training of matching here, or the others."""

    def __init__(self, *, held_out: bool) -> None:
        self.names = HELD_OUT if held_out else TEXTURES

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return f"scikit-image/{self.names[index]}"

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        shades = photograph(self.names[index]).permute(1, 2, 0).numpy()
        return np.rint(shades * 255).astype(np.uint8)


class PictureFolder(Pictures):
    """Every image below ``root``. Raises ValueError if there is none."""

    def __init__(self, root: str, cache: DiskCache | None = None) -> None:
        self.storage = Storage(root, cache)
        self.files = [file for file in find_files(self.storage) if file.lower().endswith(IMAGES)]
        if not self.files:
            raise ValueError(f"{root}: has no image ({' '.join(IMAGES)})")

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index]

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.storage.array(self.files[index], read_frame, "rgb")
