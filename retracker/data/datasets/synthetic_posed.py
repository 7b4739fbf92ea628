"""Embedded posed pairs: rendered on demand, the n-th a pure function of (seed, n)."""

from retracker.data.pairs import Pairs, View
from retracker.data.synthetic.posed import GROUPS, posed_view
from retracker.data.synthetic.seeds import training_seed


class SyntheticPosed(Pairs):
    """``length`` pairs of views, each of a scene of its own, size x size px.

    ``difficulty``: easy, medium, hard, or train for a mixture of the three.
    """

    def __init__(self, length: int, difficulty: str, size: int, seed: int) -> None:
        super().__init__(size)
        if length < 1 or difficulty not in (*GROUPS, "train"):
            raise ValueError(
                f"posed pairs need a length of at least 1 and a difficulty of {', '.join(GROUPS)} or train, "
                f"got {length} and {difficulty!r}"
            )
        self.length, self.difficulty, self.seed = length, difficulty, seed

    def __len__(self) -> int:
        return self.length

    def scene(self, index: int) -> str:
        """Every pair shows another scene."""
        return str(index)

    def name(self, index: int) -> str:
        return f"synthetic_posed/{self.difficulty}-{self.seed}-{index}"

    def view(self, index: int, side: int) -> View:
        found = posed_view(training_seed(self.seed, index), self.difficulty, self.size, side)
        return View(
            image=found.image.permute(1, 2, 0).contiguous().numpy(),
            depth=found.depth.numpy(),
            intrinsics=found.intrinsics.numpy(),
            pose=found.pose.numpy(),
        )
