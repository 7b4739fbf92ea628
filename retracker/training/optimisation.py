"""The optimiser and its schedule: who learns how fast, and who is not decayed."""

from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class Optimisation:
    """Build an optimiser with a lower learning rate for the backbone, and the schedule of both."""

    def __init__(
        self,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[Optimizer], LambdaLR],
        backbone_lr_scale: float,
    ) -> None:
        self.optimizer, self.schedule, self.backbone_lr_scale = optimizer, schedule, backbone_lr_scale

    def __call__(self, net: nn.Module) -> tuple[Optimizer, LambdaLR]:
        """Parameters without gradient are left out; vectors and scalars (biases, norms) are not decayed."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                key = (name.startswith("backbone."), parameter.ndim > 1)
                groups.setdefault(key, []).append(parameter)
        undecayed = {"weight_decay": 0.0}
        optimizer = self.optimizer(
            [{"params": group} | ({} if matrix else undecayed) for (_, matrix), group in groups.items()]
        )
        for group, (in_backbone, _) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] *= self.backbone_lr_scale if in_backbone else 1.0
        return optimizer, self.schedule(optimizer)
