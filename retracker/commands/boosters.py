"""FeatureBooster as a part of a contestant: the network of a file as a plain function of features."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retracker import checkpoint
from retracker.benchmarks.devices import device_of
from retracker.models.descriptor import boost
from retracker.types import LocalFeatures


class LoadedBooster:
    """The booster of a file, ours or released, on its device.

    With ``bits`` false a binary booster's numbers are compared before they become bits. Raises ValueError if
    none is named, and ValueError or OSError for a file that holds none.
    """

    def __init__(self, weights: str | None, device: str, *, bits: bool = True) -> None:
        if weights is None:
            raise ValueError("a boosted matcher needs a FeatureBooster: booster=<path of its weights>")
        self.place = device_of(device)
        self.net = checkpoint.load_booster(weights).to(self.place)
        self.binary = self.net.binary and bits

    @torch.no_grad()
    def __call__(self, features: LocalFeatures) -> Float[Tensor, "K E"]:
        """Descriptors of unit length; of a binary booster -1 and +1. Raises what ``boost`` raises."""
        boosted = boost(self.net, features.to(self.place)).float().cpu()
        return torch.where(boosted >= 0, 1.0, -1.0) if self.binary else F.normalize(boosted, dim=-1)
