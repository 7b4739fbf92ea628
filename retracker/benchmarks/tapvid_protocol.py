"""What TAP-Vid prescribes: how points become queries, what counts, and how large a video a tracker sees."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int, UInt8

from retracker.benchmarks.tracking import METRIC_SIZE
from retracker.media.image import resize_lanczos
from retracker.metrics.tapvid import THRESHOLDS

STRIDE = 5  # frames between those that strided queries are asked in
NATIVE = "native"
MODES = {
    "first": {"queries": "each point where it is first visible", "counted_frames": "after the query"},
    "strided": {
        "queries": f"in every {STRIDE}th frame each point that is visible there",
        "counted_frames": "all but the query's; tracked in both time directions",
    },
}


def tapvid_protocol(query_mode: str) -> Mapping[str, str]:
    """How the metrics count, in words. Raises ValueError for an unknown mode."""
    if query_mode not in MODES:
        raise ValueError(f"query_mode: expected one of {', '.join(MODES)}, got {query_mode!r}")
    return {
        "query_mode": query_mode,
        **MODES[query_mode],
        "queries_outside": "asked for on the border",
        "metric_raster": f"{METRIC_SIZE} x {METRIC_SIZE}",
        "thresholds_px": ", ".join(map(str, THRESHOLDS)),
        "inequality": "strict",
        "visibility": "the tracker's own",
        "mean": "of the videos' values, unweighted",
    }


def chosen_queries(
    visible: Bool[np.ndarray, "T N"], query_mode: str
) -> tuple[Int[np.ndarray, " Q"], Int[np.ndarray, " Q"]]:
    """The point and the frame of each query, in the order of the official code."""
    if query_mode == "strided":
        strides, points = np.nonzero(visible[::STRIDE])  # all points of frame 0, then those of frame 5, ...
        return points, strides * STRIDE
    points = np.flatnonzero(visible.any(0))
    return points, visible[:, points].argmax(0)


class Resolution:
    """How large a video a tracker is given: so many px a side, or as it is stored ("native").

    All but TAP-Vid's own 256 x 256 is a category of its own. Raises ValueError for what is no size.
    """

    def __init__(self, resolution: int | str) -> None:
        if resolution != NATIVE and (not isinstance(resolution, int) or resolution < 1):
            raise ValueError(f"resolution: expected a number of pixels or {NATIVE!r}, got {resolution!r}")
        self.resolution = resolution

    def fit(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """A frame as the tracker sees it."""
        if self.resolution == NATIVE:
            return frame
        return resize_lanczos(frame, (self.resolution, self.resolution))

    def titled(self, title: str) -> str:
        """The title of a benchmark, with the size of the input where that is not the usual one."""
        return title if self._standard else f"{title}, {self._words} input"

    @property
    def protocol(self) -> Mapping[str, str]:
        """What it means for the numbers."""
        other = f"{self._words} input: not to be compared with results at {METRIC_SIZE} x {METRIC_SIZE}"
        return {
            "category": "standard" if self._standard else other,
            "input": self._words,
            "resize": "none" if self.resolution == NATIVE else "PIL Lanczos on uint8, where the size differs",
        }

    @property
    def _standard(self) -> bool:
        return self.resolution == METRIC_SIZE

    @property
    def _words(self) -> str:
        return NATIVE if self.resolution == NATIVE else f"{self.resolution} x {self.resolution}"
