"""The optimiser and its schedule: who learns how fast, and who is not decayed."""

from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class Optimisation:
    """Build an optimiser and its schedule; released backbone weights get a lower learning rate."""

    def __init__(
        self,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[Optimizer], LambdaLR],
        backbone_lr_scale: float,
    ) -> None:
        self.optimizer, self.schedule, self.backbone_lr_scale = optimizer, schedule, backbone_lr_scale

    def __call__(self, net: nn.Module) -> tuple[Optimizer, LambdaLR]:
        """Parameters without gradient are left out; vectors and scalars (biases, norms) are not decayed."""
        targets = net.backbone.weight_targets() if hasattr(net, "backbone") else ()
        released = {p for target in targets for p in target.module.parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in net.parameters():
            if parameter.requires_grad:
                key = (parameter in released, parameter.ndim > 1)
                groups.setdefault(key, []).append(parameter)
        undecayed = {"weight_decay": 0.0}
        optimizer = self.optimizer(
            [{"params": group} | ({} if matrix else undecayed) for (_, matrix), group in groups.items()]
        )
        for group, (pretrained, _) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] *= self.backbone_lr_scale if pretrained else 1.0
        return optimizer, self.schedule(optimizer)
