"""Intrinsics as the file of a data set holds them, and as official codes scale them for their solver."""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from retracker.geometry.quarter_turns import turn_intrinsics
from retracker.types import TensorStruct


@dataclass(frozen=True, kw_only=True)
class FileCamera(TensorStruct):
    """They count from the corner of the corner pixel, or from its centre, as the file has it."""

    intrinsics: Float64[Tensor, "3 3"]
    size: tuple[int, int]  # height and width of the image that they are for, after the turns
    turns: int  # that set it upright; of a camera that counts from the centre

    def resized(self, frame: tuple[float | int, float | int]) -> Float64[Tensor, "3 3"]:
        """Those of the upright image at another (height, width), by the arithmetic of SuperGlue's code.

        Resized by a pure ratio, whatever they count, and turned then, by pixel indices. The ratios are those
        of the upright image also where it lies on its side: they differ by the rounding of its size.
        """
        ratios = [[1 / (old / new)] for old, new in zip(self.size[::-1], frame[::-1], strict=True)]
        scaled = self.intrinsics * self.intrinsics.new_tensor([*ratios, [1]])
        height, width = frame[::-1] if self.turns % 2 else frame
        return turn_intrinsics(scaled, (height - 1, width - 1), self.turns)  # index x goes to width - 1 - x
