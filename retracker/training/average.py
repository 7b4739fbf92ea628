"""The exponential moving average of the weights: what is validated, and what users load."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average the trainable parameters of a net over its updates; frozen ones need no copy."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay, self.num_updates = decay, 0
        self.weights = {name: p.detach().clone() for name, p in trainable(net).items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in one update. The memory is short at first, or the random start would be felt for long."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        parameters = trainable(net)
        averages = [self.weights[name] for name in parameters]
        torch._foreach_lerp_(averages, list(parameters.values()), 1 - decay)  # few launches on a GPU

    def to(self, device: torch.device) -> None:
        """Keep the average where the net is."""
        self.weights = {name: weight.to(device) for name, weight in self.weights.items()}

    def restore(self, weights: dict[str, Tensor], num_updates: int) -> None:
        """Go on from a checkpoint."""
        self.weights = {name: weights[name].clone() for name in self.weights}
        self.num_updates = num_updates


def trainable(net: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: p for name, p in net.named_parameters() if p.requires_grad}
