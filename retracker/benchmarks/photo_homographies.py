"""Photographs under random homographies and in other light: rendered, so that the truth is exact.

The n-th pair of a photograph is drawn from a fixed seed, and views are anti-aliased: see plane_views.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

import numpy as np

from retracker.benchmarks.homography_protocol import HomographyProtocol
from retracker.benchmarks.plane_views import Change, draw_views, homography_between, lit, reduced, render
from retracker.benchmarks.planes import PlaneBenchmark, PlanePair
from retracker.data.pictures import Photographs, PictureFolder

SEED = 30_000_000  # no pair of training is drawn from it
QUICK_PAIRS = 2  # of each photograph and group


class PhotoHomographies(PlaneBenchmark):
    """``pairs`` of each photograph in each group of ``changes``; views have ``size`` (width, height).

    ``folder`` None: those of scikit-image's photographs that neither posed pairs nor boosters are trained on.
    Otherwise every image below it; raises FileNotFoundError or ValueError, naming it, if there is none.
    """

    def __init__(
        self,
        name: str,
        folder: str | None,
        size: Sequence[int],
        changes: Mapping[str, Change],
        pairs: int,
        protocol: HomographyProtocol,
        *,
        quick: bool,
    ) -> None:
        if len(size) != 2 or min(size) < 1 or pairs < 1 or not changes:
            raise ValueError(
                f"{name}: expected a size (width, height) in px, at least one pair and one group of changes, "
                f"got {list(size)}, {pairs} and {list(changes)}"
            )
        super().__init__(name, name, protocol)
        self.size_shown, self.changes = (size[1], size[0]), changes
        self.photographs = Photographs(held_out=True) if folder is None else PictureFolder(folder)
        count = QUICK_PAIRS if quick else pairs
        self.items = [
            (group, p, n) for group in changes for p in range(len(self.photographs)) for n in range(count)
        ]
        self.title += ", first few pairs" if quick else ""
        self.protocol |= {
            "photographs": f"{len(self.photographs)} of {PurePath(folder or 'scikit-image').name}",
            "views": f"{size[0]} x {size[1]} px",
            "pairs": len(self.items),
        }

    def __len__(self) -> int:
        return len(self.items)

    def item_name(self, index: int) -> str:
        """Such as strong/scikit-image/chelsea.png/3."""
        group, photo, number = self.items[index]
        return f"{group}/{self.photographs.name(photo)}/{number}"

    def group(self, index: int) -> str:
        return self.items[index][0]

    def read(self, index: int) -> PlanePair:
        group, photo, number = self.items[index]
        rng = np.random.default_rng([SEED, list(self.changes).index(group), photo, number])
        plane, change = reduced(self.photographs.read(photo), self.size_shown), self.changes[group]
        views = draw_views(plane.shape[:2], self.size_shown, change.warping, rng)
        image0, image1 = (lit(render(plane, view, self.size_shown), change.light, rng) for view in views)
        return PlanePair(
            image0=image0,
            image1=image1,
            homography=homography_between(views),
            name=f"{self.name}/{self.item_name(index)}",
        )
