"""Relative pose for training: a net that is being trained, measured by a benchmark of ``retracker.eval``."""

from collections.abc import Mapping
from functools import lru_cache

import cv2
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from jaxtyping import UInt8
from omegaconf import DictConfig
from torch import Tensor, nn

from retracker.benchmarks import presence
from retracker.benchmarks.posed import DEGREES, PoseBenchmark, PosedPair
from retracker.benchmarks.protocol import Matched, Scores
from retracker.benchmarks.runner import SEED
from retracker.configuration import compose_config
from retracker.inference.pair import match
from retracker.inference.two_views import grid_points
from retracker.training.pose_validation import PoseValidation

AUTO = "auto"
REAL, EMBEDDED = "yfcc1500", "synthetic_pose"  # benchmarks that ``auto`` chooses from
KEPT = 64  # pairs in memory: the embedded ones need not be rendered at each validation


class PoseScores:
    """``num_pairs`` of a benchmark's pairs, spread evenly over it, matched from a grid of points.

    ``grid``: points a side of view 0; each must be found back from view 1.
    """

    def __init__(self, benchmark: PoseBenchmark, num_pairs: int, grid: int) -> None:
        if num_pairs < 1 or grid < 1:
            raise ValueError(f"pose: expected num_pairs and grid of at least 1, got {num_pairs} and {grid}")
        count = min(num_pairs, len(benchmark))
        self.benchmark, self.grid = benchmark, grid
        self.indices = [round(place * (len(benchmark) - 1) / max(1, count - 1)) for place in range(count)]
        self._read = lru_cache(maxsize=KEPT if count <= KEPT else 1)(benchmark.read)

    def __len__(self) -> int:
        return len(self.indices)

    def score(self, net: nn.Module, index: int) -> Scores:
        """As ``retracker.eval`` scores a pair. Raises what reading it raises."""
        pair: PosedPair = self._read(self.indices[index])

        def matcher(image0: UInt8[Tensor, "3 H0 W0"], image1: UInt8[Tensor, "3 H1 W1"]) -> Matched:
            points = grid_points(image0.shape[-2], image0.shape[-1], self.grid)
            found = match(net, image0, image1, points, mutual=True)
            return Matched(points0=found.points_a, points1=found.points_b, confidence=found.confidence)

        answer = self.benchmark.ask(matcher, pair)
        cv2.setRNGSeed(SEED)  # of RANSAC
        return self.benchmark.score(pair, answer)

    def summarise(self, scores: Mapping[int, Scores]) -> Scores:
        """Exact AUC in [0, 1], precision of the matches and their number."""
        names = {index: self.benchmark.item_name(self.indices[index]) for index in scores}
        values = self.benchmark.summarise({names[index]: of_pair for index, of_pair in scores.items()}).values
        areas = {f"AUC@{degrees}": values[f"exact_auc_{degrees}"] for degrees in DEGREES}
        return areas | {"precision": values["epipolar_precision"], "matches": values["matches"]}


def pose_validation(benchmark: str, data_root: str, num_pairs: int, grid: int) -> PoseValidation:
    """Pose of ``num_pairs`` pairs of a benchmark at each validation, as a callback.

    ``auto`` is YFCC1500 where ``data_root`` has its list, else the embedded pairs. Raises ValueError for a
    benchmark that measures something else, and what making it raises.
    """
    if benchmark == AUTO:
        benchmark = REAL if _is_there(REAL, data_root) else EMBEDDED
    return PoseValidation(PoseScores(_made(benchmark, data_root), num_pairs, grid))


def _made(benchmark: str, data_root: str) -> PoseBenchmark:
    try:
        made = instantiate(_config(benchmark, data_root).benchmark, _convert_="all")
    except InstantiationException as error:  # which says in three lines what its cause says in one
        raise ValueError(f"pose.benchmark {benchmark}: {error.__cause__ or error}") from None
    if not isinstance(made, PoseBenchmark):
        raise ValueError(f"pose.benchmark: expected one of posed pairs of views, got {benchmark}")
    return made


def _is_there(benchmark: str, data_root: str) -> bool:
    try:
        return bool(presence.found(data_root, _config(benchmark, data_root).benchmark.needs))
    except FileNotFoundError:  # there is no such folder at all
        return False


def _config(benchmark: str, data_root: str) -> DictConfig:
    """The configuration of an evaluation."""
    quoted = data_root.replace("\\", "\\\\").replace("'", "\\'")
    return compose_config("eval", [f"benchmark={benchmark}", f"data_root='{quoted}'"])
