"""What is logged of one step of the optimiser: means over its clips, whatever rank and batch they were in."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from retracker.training.ranks import of_all_ranks


class StepMeans:
    """Add up the values of a step's clips; what is not finite counts for nothing."""

    def __init__(self) -> None:
        self._summed: dict[str, tuple[Tensor, Tensor | int]] = {}

    def add_means(self, means: Mapping[str, Float[Tensor, ""]], num_clips: int) -> None:
        """Note what are means over ``num_clips`` clips already."""
        for name, value in means.items():
            self._add(name, value.detach().float() * num_clips, num_clips)

    def add_clips(self, values: Mapping[str, Float[Tensor, " B"]]) -> None:
        """Note one value for each clip."""
        for name, value in values.items():
            finite = value.detach().isfinite()
            self._add(name, value.detach().float().where(finite, 0.0).sum(), finite.sum())

    def take(self, world_size: int) -> dict[str, float]:
        """The mean of each name over the clips of all ranks that have it; then begin anew.

        To be called on all ranks, which may have noted different names.
        """
        own = {name: (float(total), float(num)) for name, (total, num) in self._summed.items()}
        self._summed = {}
        ranks = of_all_ranks(own, world_size)
        sums = {
            name: [
                sum(column) for column in zip(*(rank[name] for rank in ranks if name in rank), strict=True)
            ]
            for name in dict.fromkeys(name for rank in ranks for name in rank)
        }
        return {name: total / num for name, (total, num) in sums.items() if num}

    def _add(self, name: str, total: Tensor, num: Tensor | int) -> None:
        before = self._summed.get(name, (0.0, 0))
        self._summed[name] = (before[0] + total, before[1] + num)
