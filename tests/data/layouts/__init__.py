"""Small trees in the exact layout of each public data set, written from rendered clips whose truth is known.

One module per layout, with a ``LAYOUT``; ``test_contract.py`` runs every one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import Dataset

from layouts.truth import Truth
from retracker.types import VideoSample


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one data set lies on disk, how it is opened, and how well its labels survive the format."""

    config: str  # of configs/dataset
    write: Callable[[Path, list[Truth]], None]  # a root; recording i is truth i
    open: Callable[[Path], Dataset]  # the reader, with its usual settings
    tolerance: float  # px, between the reader's tracks and the truth
    a_file: Callable[[Path], Path]  # a file that recording 0 needs, for breaking it
    lossless: bool = True  # frames come back bit for bit
    # Where the format does not hold the truth's own points: the truth of those that were read instead.
    truth_of: Callable[[Truth, VideoSample], Truth] = lambda truth, _: truth
