"""The embedded benchmark: rendered clips with exact ground truth, in three groups of difficulty."""

from collections.abc import Sequence

from retracker.benchmarks.tapvid_protocol import tapvid_protocol
from retracker.benchmarks.tracking import TrackBenchmark
from retracker.data.synthetic.validation import SyntheticVal
from retracker.types import VideoSample


class SyntheticValBenchmark(TrackBenchmark):
    """The clips of each group ("easy", "medium", "hard"); ``quick`` takes the first few of each.

    Raises ValueError for a group that does not exist.
    """

    def __init__(self, name: str, groups: Sequence[str], *, quick: bool) -> None:
        self.name, self.clips = name, SyntheticVal(groups, quick=quick)
        self.title = f"{name}, first few clips" if quick else name
        self.protocol = {
            **tapvid_protocol(self.query_mode),
            "queries": "each point in a frame in which it is visible",
            "input": "256 x 256",
            "groups": ", ".join(groups),
            "quick": quick,
        }

    def __len__(self) -> int:
        return len(self.clips)

    def item_name(self, index: int) -> str:
        group, clip = self.clips.clips[index]
        return f"synthetic_val/{group}-{clip}"

    def group(self, index: int) -> str:
        return self.clips.clips[index][0]

    def read(self, index: int) -> VideoSample:
        return self.clips[index]
