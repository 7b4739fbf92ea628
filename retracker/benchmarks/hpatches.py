"""HPatches: planes seen under other light or from elsewhere. Homographies, and the share of right matches.

    hpatches-sequences-release/<i_ or v_ and a name>/{1..6}.ppm, H_1_2 .. H_1_6

Image 1 is matched with each other one. i_: the light changes; v_: the view. The homography of a file maps
image 1 to the other; what it counts is the preset's affair, see homography_protocol.py.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from retracker.benchmarks.homography_protocol import HomographyProtocol
from retracker.benchmarks.planes import PlaneBenchmark, PlanePair
from retracker.benchmarks.presence import check_found
from retracker.data.storage import Storage
from retracker.media.image import read_frame

GROUPS = {"i": "illumination", "v": "viewpoint"}
OTHERS = (2, 3, 4, 5, 6)  # what image 1 is matched with


class HPatches(PlaneBenchmark):
    """The sequences below ``root`` but those that are left ``out``, which are too large for most methods.

    ``sequences`` is how many there should be; the protocol says how many there are. Raises ValueError, naming
    it, for a sequence that is not complete.
    """

    def __init__(
        self,
        name: str,
        root: str,
        needs: Sequence[str],
        out: Sequence[str],
        sequences: int,
        preset: str,
        protocol: HomographyProtocol | None,
    ) -> None:
        if protocol is None:
            raise ValueError(f"protocol {preset} does not say how homographies are measured")
        super().__init__(name, "HPatches", protocol)
        self.storage = Storage(root, None)
        self.folder = check_found(root, needs, "HPatches").rsplit("/", 2)[0]
        names = [place for place in self.storage.names(self.folder) if place[:2] in ("i_", "v_")]
        self.sequences = [place for place in names if place not in out]
        if not self.sequences:
            raise ValueError(
                f"{self.storage.where(self.folder)}: has no sequence i_... or v_... to be evaluated"
            )
        for sequence in self.sequences:
            self._check_complete(sequence)
        found = f"{len(self.sequences)} of {sequences}"
        self.title += "" if len(self.sequences) == sequences else f" ({found} sequences)"
        self.protocol |= {"sequences": found, "left_out": sorted(out)}

    def __len__(self) -> int:
        return len(self.sequences) * len(OTHERS)

    def item_name(self, index: int) -> str:
        sequence, other = self._place(index)
        return f"{sequence}/1-{other}"

    def group(self, index: int) -> str:
        return GROUPS[self._place(index)[0][0]]

    def read(self, index: int) -> PlanePair:
        sequence, other = self._place(index)
        images = [
            self.storage.array(f"{self.folder}/{sequence}/{number}.ppm", read_frame, "rgb")
            for number in (1, other)
        ]
        matrix = self.storage.load(f"{self.folder}/{sequence}/H_1_{other}", read_homography)
        image0, image1 = (torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous() for image in images)
        return PlanePair(
            image0=image0,
            image1=image1,
            homography=self.rules.truth(torch.from_numpy(matrix)),
            name=f"{self.name}/{self.item_name(index)}",
        )

    def _place(self, index: int) -> tuple[str, int]:
        return self.sequences[index // len(OTHERS)], OTHERS[index % len(OTHERS)]

    def _check_complete(self, sequence: str) -> None:
        there = set(self.storage.names(f"{self.folder}/{sequence}"))
        wanted = [f"{number}.ppm" for number in (1, *OTHERS)] + [f"H_1_{other}" for other in OTHERS]
        missing = [name for name in wanted if name not in there]
        if missing:
            where = self.storage.where(f"{self.folder}/{sequence}")
            raise ValueError(f"{where}: expected 1.ppm to 6.ppm and H_1_2 to H_1_6, has no {missing[0]}")


def read_homography(path: Path) -> Float64[np.ndarray, "3 3"]:
    """Nine numbers by rows. Raises ValueError, naming the file, if they are not, or cannot be inverted."""
    try:
        numbers = [float(word) for word in path.read_text(encoding="utf-8").split()]
        matrix = np.array(numbers).reshape(3, 3)
    except ValueError as error:
        raise ValueError(f"{path}: expected the nine numbers of a homography") from error
    if not np.isfinite(matrix).all() or not abs(np.linalg.det(matrix)) > 0:
        raise ValueError(f"{path}: expected a homography that can be inverted, got {matrix.tolist()}")
    return matrix
