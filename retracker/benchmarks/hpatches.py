"""HPatches: planes seen under other light or from elsewhere. Homographies, and the share of right matches.

    hpatches-sequences-release/<i_ or v_ and a name>/{1..6}.ppm, H_1_2 .. H_1_6

Image 1 is matched with each other one. i_: the light changes; v_: the view. The homography of a file maps
image 1 to the other; what it counts is the preset's affair, see homography_protocol.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from retracker.benchmarks.homography_protocol import HomographyProtocol
from retracker.benchmarks.pair_answers import draw_matched, match_arrays
from retracker.benchmarks.presence import check_found
from retracker.benchmarks.protocol import Benchmark, Column, Curve, Matched, Matcher, Scores, Summary
from retracker.benchmarks.resizing import ask_resized
from retracker.data.storage import Storage
from retracker.media.image import read_frame
from retracker.metrics.matching import matching_accuracy, transfer_errors
from retracker.metrics.pose import pose_auc
from retracker.types import TensorStruct

GROUPS = {"i": "illumination", "v": "viewpoint"}
OTHERS = (2, 3, 4, 5, 6)  # what image 1 is matched with
MMA_PX = tuple(range(1, 11))
SHOWN_MMA = (1, 3, 5)
RIGHT_PX = 3.0  # what pictures call right
FAR_PX = 10.0  # where pairs are ranked, worse is as bad


@dataclass(frozen=True, kw_only=True)
class PlanePair(TensorStruct):
    """Two images of a plane at their stored size."""

    image0: UInt8[Tensor, "3 H0 W0"]  # RGB
    image1: UInt8[Tensor, "3 H1 W1"]
    homography: Float64[Tensor, "3 3"]  # from image 0 to image 1; counts what the preset says
    name: str


class HPatches(Benchmark[PlanePair, Matched]):
    """The sequences below ``root`` but those that are left ``out``, which are too large for most methods.

    ``sequences`` is how many there should be; the protocol says how many there are. Raises ValueError, naming
    it, for a sequence that is not complete.
    """

    kind = "matcher"
    usual_baselines = ("sift",)
    ranked_by = "closeness"
    curves = (
        Curve(
            title="matches within (MMA)",
            thresholds=tuple(float(px) for px in MMA_PX),
            unit="px of the matched images",
            metrics=tuple(f"mma_{px}" for px in MMA_PX),
        ),
        Curve(
            title="homographies with a corner error within",
            thresholds=tuple(float(px) for px in MMA_PX),
            unit="px",
            metrics=tuple(f"corners_within_{px}" for px in MMA_PX),
        ),
    )

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
        self.name = name
        self.rules = protocol
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
        part = (
            "" if len(self.sequences) == sequences else f" ({len(self.sequences)} of {sequences} sequences)"
        )
        self.title = f"HPatches ({protocol.label}){part}"
        self.protocol = {
            **protocol.describe(),
            "sequences": f"{len(self.sequences)} of {sequences}",
            "left_out": sorted(out),
            "mma": "of all matches, in px of the matched images",
        }
        exact = tuple(_area(px) for px in protocol.auc_px)
        linear = tuple(_area(px, "linear_", "DLT ") for px in protocol.auc_px) if protocol.linear else ()
        shares = tuple(Column(heading=f"MMA@{px}", metric=f"mma_{px}") for px in SHOWN_MMA)
        counts = tuple(Column(heading=word, metric=word, percent=False) for word in ("matches", "inliers"))
        self.columns = (*exact, *shares, *counts, *linear)
        self.headline = (*exact, *shares[1:2])

    def __len__(self) -> int:
        return len(self.sequences) * len(OTHERS)

    def item_name(self, index: int) -> str:
        sequence, other = self._place(index)
        return f"{sequence}/1-{other}"

    def group(self, index: int) -> str:
        return GROUPS[self._place(index)[0][0]]

    def size(self, item: PlanePair) -> int:
        del item
        return 1

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
            homography=torch.from_numpy(matrix),
            name=f"{self.name}/{self.item_name(index)}",
        )

    def ask(self, method: Matcher, item: PlanePair) -> Matched:
        """Its correspondences, in px of the images as they are stored."""
        return ask_resized(method, item.image0, item.image1, self.rules.image, item.name)

    def score(self, item: PlanePair, answer: Matched) -> Scores:
        """The corner error in px, how close to none that is in [0, 1], and the shares of right matches."""
        points, truth, sizes = self._shown(item, answer)
        errors = self.rules.corner_errors(points, answer.confidence.double().numpy(), truth, sizes)
        shares = matching_accuracy(transfer_errors(*points, truth.numpy()), MMA_PX)
        return {
            **errors,
            "closeness": 1 - min(errors["corner_error"], FAR_PX) / FAR_PX,
            "matches": float(len(answer.points0)),
            **{f"mma_{px}": share for px, share in zip(MMA_PX, shares, strict=True)},
        }

    def summarise(self, scores: Mapping[str, Scores]) -> Summary:
        """Areas over the corner errors of all pairs, and means."""
        if not scores:
            raise ValueError("no pair was evaluated, so there is no area")
        errors = [of_pair["corner_error"] for of_pair in scores.values()]
        means = ("matches", "inliers", "closeness", *(f"mma_{px}" for px in MMA_PX))
        values = {
            **self._areas("", errors),
            **{metric: mean(of_pair[metric] for of_pair in scores.values()) for metric in means},
            **{f"corners_within_{px}": float(np.mean(np.array(errors) <= px)) for px in MMA_PX},
            "median_corner_error": median(errors),
        }
        if self.rules.linear:
            linear = [of_pair["linear_corner_error"] for of_pair in scores.values()]
            values |= self._areas("linear_", linear)
        return Summary(values=values, undefined={})

    def arrays(self, item: PlanePair, answer: Matched) -> Mapping[str, np.ndarray]:
        """Matches (M,2) in px of the stored images, and their confidence."""
        return match_arrays(item, answer)

    def picture(self, item: PlanePair, answer: Matched, path: Path) -> Path:
        """A png with a line for each match: green where it is right, yellow at 3 px, red beyond."""
        points, truth, _ = self._shown(item, answer)
        errors = torch.from_numpy(transfer_errors(*points, truth.numpy())).nan_to_num(nan=torch.inf)
        right = RIGHT_PX / (RIGHT_PX + errors)
        return draw_matched(item, answer, right, path, legend="right")

    def _shown(self, item: PlanePair, answer: Matched) -> tuple:
        """Points, homography and (height, width) of the images as the matcher was shown them, raster px."""
        stored = [tuple(image.shape[-2:]) for image in (item.image0, item.image1)]
        shown = [self.rules.image.size(*size) for size in stored]
        scales = [
            torch.tensor([new[1] / old[1], new[0] / old[0], 1.0], dtype=torch.float64)
            for old, new in zip(stored, shown, strict=True)
        ]
        points = tuple(
            (xy.double() * scale[:2]).numpy()
            for xy, scale in zip((answer.points0, answer.points1), scales, strict=True)
        )
        truth = scales[1].diag() @ self.rules.truth(item.homography) @ (1 / scales[0]).diag()
        return points, truth, tuple(shown)

    def _areas(self, prefix: str, errors: list[float]) -> dict[str, float]:
        areas = pose_auc(errors, self.rules.auc_px)
        return {_area(px, prefix).metric: area for px, area in zip(self.rules.auc_px, areas, strict=True)}

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


def _area(px: int, prefix: str = "", word: str = "") -> Column:
    return Column(heading=f"{word}AUC@{px} px", metric=f"{prefix}exact_auc_{px}px")
