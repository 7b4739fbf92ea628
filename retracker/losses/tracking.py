"""What training minimises: a weighted sum of terms, each a pure function of a prediction and the truth."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor, nn

from retracker.types import Prediction, VideoSample

Term = Callable[[Prediction, VideoSample], Tensor]


class TrackingLoss(nn.Module):
    """Combine named terms. A term with an entry in ``starts`` has weight zero until that optimiser step; with
    one in ``ramps`` its weight then rises linearly over so many steps."""

    def __init__(
        self,
        terms: Mapping[str, Term],
        weights: Mapping[str, float],
        starts: Mapping[str, int],
        ramps: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        strangers = sorted((weights.keys() ^ terms.keys()) | ((starts.keys() | ramps.keys()) - terms.keys()))
        if strangers:
            raise ValueError(
                f"loss: terms are {', '.join(sorted(terms))}, with a weight each; see {', '.join(strangers)}"
            )
        if min(ramps.values(), default=0) < 0:
            raise ValueError(f"loss: ramps are numbers of steps, 0 or more, got {dict(ramps)}")
        self.terms, self.weights = dict(terms), dict(weights)
        self.starts, self.ramps = dict(starts), dict(ramps)

    def forward(
        self, prediction: Prediction, truth: VideoSample, step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss to minimise at optimiser step ``step``, and its terms before weighting."""
        terms = {name: term(prediction, truth) for name, term in self.terms.items()}
        # Weight 0 rather than no term: every parameter then has a gradient in every step, on every rank.
        total = sum(self.weight(name, step) * value for name, value in terms.items())
        return total, terms

    def weight(self, name: str, step: int) -> float:
        """The weight of a term at a step."""
        passed = step - self.starts.get(name, 0)
        return self.weights[name] * min(1.0, max(0.0, (passed + 1) / (self.ramps.get(name, 0) + 1)))
