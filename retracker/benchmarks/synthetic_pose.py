"""The embedded benchmark of relative pose: rendered pairs with exact cameras, in three groups of difficulty.

Its pairs come from seeds that no training ever draws. They are matched at the size they are rendered at,
whatever the preset says of images: enlarging them would add nothing. All else is the preset's.
"""

from collections.abc import Sequence
from dataclasses import replace

from retracker.benchmarks.file_camera import FileCamera
from retracker.benchmarks.pose_protocol import PoseProtocol
from retracker.benchmarks.posed import PoseBenchmark, PosedPair
from retracker.benchmarks.resizing import Resize
from retracker.data.synthetic.posed import GROUPS, posed_view, validation_seed
from retracker.geometry.camera import relative_pose

QUICK_PAIRS = 10  # of each group
AS_RENDERED = Resize(side="stored", px=None, rounding="nearest", multiple=1, filter="linear")


class SyntheticPose(PoseBenchmark):
    """``pairs`` of each group (easy, medium, hard), ``size`` x ``size`` px; ``quick`` takes the first few.

    Raises ValueError for a group that does not exist, and if there is no pair.
    """

    def __init__(
        self,
        name: str,
        groups: Sequence[str],
        pairs: int,
        size: int,
        protocol: PoseProtocol,
        *,
        quick: bool,
    ) -> None:
        unknown = sorted(set(groups) - set(GROUPS))
        if unknown or not groups or pairs < 1 or size < 1:
            raise ValueError(
                f"{name} has the groups {', '.join(GROUPS)}, and needs at least one pair and a size in px; "
                f"got {list(groups)}, {pairs} and {size}"
            )
        here = replace(protocol.conditions(self.place), image=AS_RENDERED)
        super().__init__(name, name, replace(protocol, **{self.place: here}))
        self.size_px = size
        self.items = [(group, n) for group in groups for n in range(QUICK_PAIRS if quick else pairs)]
        self.title += ", first few pairs" if quick else ""
        self.protocol |= {
            "groups": ", ".join(groups),
            "pairs": len(self.items),
            "input": f"{size} x {size}",
        }

    def __len__(self) -> int:
        return len(self.items)

    def item_name(self, index: int) -> str:
        """Such as hard/12."""
        group, number = self.items[index]
        return f"{group}/{number}"

    def group(self, index: int) -> str:
        return self.items[index][0]

    def read(self, index: int) -> PosedPair:
        group, number = self.items[index]
        view0, view1 = (
            posed_view(validation_seed(group, number), group, self.size_px, side) for side in (0, 1)
        )
        cameras = [
            FileCamera(intrinsics=view.intrinsics, size=(self.size_px, self.size_px), turns=0)
            for view in (view0, view1)
        ]
        return PosedPair(
            image0=view0.image,
            image1=view1.image,
            intrinsics0=view0.intrinsics,
            intrinsics1=view1.intrinsics,
            file_camera0=cameras[0],
            file_camera1=cameras[1],
            pose_0to1=relative_pose(view0.pose, view1.pose),
            name=f"{self.name}/{self.item_name(index)}",
        )
