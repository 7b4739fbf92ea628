"""Embedded training clips: rendered on demand, the n-th a pure function of (seed, n)."""

from dataclasses import replace

from torch.utils.data import Dataset

from retracker.data.synthetic import ClipSettings, render
from retracker.data.synthetic.seeds import check_training_seed, training_seed
from retracker.data.synthetic.textures import PHOTO_SHARE
from retracker.types import VideoSample


class Synthetic(Dataset[VideoSample]):
    """``length`` unbatched clips; nothing is stored, so ``length`` may be as large as one likes."""

    def __init__(  # noqa: PLR0913  a yaml's keys, one for one
        self,
        length: int,
        difficulty: str,
        num_frames: int,
        num_points: int,
        size: int,
        seed: int,
        *,
        frame_stride: float = 1.0,
        dense_flow: bool = False,
        rim_share: float | int = 0.0,
        photometric: bool = True,
        spare_held_out: bool = False,
        photo_share: float | int = PHOTO_SHARE,
        shaded: float | int = 0.0,
        grey: float | int = 0.0,
        locked: float | int = 0.0,
        weak: float | int | None = None,
        weak_walls: float | int = 0.4,
    ) -> None:
        if length < 1:
            raise ValueError(f"a synthetic dataset needs a length of at least 1, got {length}")
        self.length, self.num_frames, self.seed = length, num_frames, seed
        self.settings = ClipSettings(
            difficulty=difficulty,
            num_frames=num_frames,
            num_points=num_points,
            height=size,
            width=size,
            frame_stride=frame_stride,
            dense_flow=dense_flow,
            rim_share=rim_share,
            photometric=photometric,
            spare_held_out=spare_held_out,
            photo_share=photo_share,
            shaded=shaded,
            grey=grey,
            locked=locked,
            weak=weak,
            weak_walls=weak_walls,
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> VideoSample:
        if not 0 <= index < self.length:
            raise IndexError(f"clip {index} of a synthetic dataset of {self.length}")
        return render_one(training_seed(self.seed, index), self.settings)


def render_one(seed: int, settings: ClipSettings) -> VideoSample:
    """One training clip without a batch axis. Raises ValueError for a seed reserved for validation."""
    check_training_seed(seed)
    return unbatched(render([seed], settings))


def unbatched(sample: VideoSample) -> VideoSample:
    """The only clip of a batch of one."""
    return replace(sample.map(lambda value: value[0]), name=sample.name[0])
