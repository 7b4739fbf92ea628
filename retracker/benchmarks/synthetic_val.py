"""The embedded benchmark: rendered clips with exact ground truth, in three groups of difficulty."""

from collections.abc import Mapping, Sequence

from retracker.benchmarks.protocol import Clips
from retracker.data.synthetic.validation import synthetic_val


def clips(groups: Sequence[str], *, quick: bool) -> Mapping[str, Clips]:
    """The clips of each group, by name ("easy", "medium", "hard"); ``quick`` takes the first few of each.

    Raises ValueError for a group that does not exist.
    """
    return {group: synthetic_val(group, quick) for group in groups}
