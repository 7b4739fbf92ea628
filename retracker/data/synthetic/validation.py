"""The embedded validation set: fixed clips in three groups, never seen in training."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from torch.utils.data import Dataset

from retracker.data.synthetic.render import render
from retracker.data.synthetic.seeds import RESERVED
from retracker.data.synthetic.settings import DIFFICULTIES, ClipSettings
from retracker.types import VideoSample

CLIPS = 8
QUICK_CLIPS = 2
FIRST_SEED = 1_000_000  # of the range below RESERVED that belongs to this set; one million per group


class SyntheticVal(Dataset[VideoSample]):
    """The clips of some groups, one group after the other: 256 x 256, 48 frames, 64 queries."""

    def __init__(self, groups: Sequence[str], *, quick: bool) -> None:
        unknown = sorted(set(groups) - set(DIFFICULTIES))
        if unknown:
            raise ValueError(f"synthetic_val has the groups {', '.join(DIFFICULTIES)}; got {unknown}")
        clips = range(QUICK_CLIPS if quick else CLIPS)
        self.clips = [(group, index) for group in groups for index in clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> VideoSample:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of synthetic_val's {len(self)}")
        return _clip(*self.clips[index])


def synthetic_val(group: str, quick: bool) -> SyntheticVal:
    """The validation clips of ``group`` (easy, medium or hard): 8, or the first 2 when ``quick``."""
    return SyntheticVal([group], quick=quick)


def validation_settings(group: str) -> ClipSettings:
    """How validation clips of one group are made."""
    return ClipSettings(
        difficulty=group,
        num_frames=48,
        num_points=64,
        height=256,
        width=256,
        first_frame_share=0.25,
        last_birth=0.6,
        strict=True,
    )


def validation_seed(group: str, index: int) -> int:
    """The fixed seed of one validation clip, below every training seed."""
    seed = FIRST_SEED * (1 + DIFFICULTIES.index(group)) + index
    assert seed < RESERVED
    return seed


@lru_cache(maxsize=len(DIFFICULTIES) * CLIPS)
def _clip(group: str, index: int) -> VideoSample:
    sample = render([validation_seed(group, index)], validation_settings(group))
    return replace(sample.map(lambda value: value[0]), name=f"synthetic_val/{group}-{index}")
