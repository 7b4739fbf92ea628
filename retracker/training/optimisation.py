"""The optimiser and its schedule: who learns how fast, and who is not decayed."""

from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class Optimisation:
    """Build an optimiser and its schedule; released backbone weights get a lower learning rate.

    ``lr_batch``: the clips per step that the learning rate is meant for; with others it is multiplied by
    their ratio to the power of ``lr_batch_power``. None: it stays as it is.
    """

    def __init__(
        self,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[Optimizer], LambdaLR],
        backbone_lr_scale: float,
        lr_batch: int | None,
        lr_batch_power: float | int,
    ) -> None:
        if lr_batch is not None and lr_batch < 1:
            raise ValueError(f"optim: lr_batch is a number of clips, or null, got {lr_batch}")
        self.optimizer, self.schedule, self.backbone_lr_scale = optimizer, schedule, backbone_lr_scale
        self.lr_batch, self.lr_batch_power = lr_batch, lr_batch_power

    def factor(self, clips: int) -> float:
        """What the learning rate is multiplied by with so many clips per step."""
        return 1.0 if self.lr_batch is None else (clips / self.lr_batch) ** self.lr_batch_power

    def __call__(self, net: nn.Module, clips: int) -> tuple[Optimizer, LambdaLR]:
        """For steps of so many clips. Parameters without gradient are left out.

        Vectors and scalars (biases, norms) are not decayed.
        """
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
            group["lr"] *= self.factor(clips) * (self.backbone_lr_scale if pretrained else 1.0)
        return optimizer, self.schedule(optimizer)
