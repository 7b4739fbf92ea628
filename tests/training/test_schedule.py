import pytest
import torch
from torch import nn

from retracker.models.backbones.backbone import Backbone, WeightTarget
from retracker.training.average import WeightAverage
from retracker.training.optimisation import Optimisation
from retracker.training.schedule import cosine, exponential, onecycle


def rates(schedule, total_steps=100, steps=120):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, total_steps=total_steps, warmup_share=0.1, final=0.1)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


@pytest.mark.parametrize("schedule", [onecycle, cosine, exponential])
def test_the_rate_rises_to_full_then_falls_to_its_final_share_and_stays(schedule):
    values = rates(schedule)
    assert values[0] == pytest.approx(2.0 / 11) and values[10] == 2.0 == max(values)
    assert values[:11] == sorted(values[:11]) and values[10:] == sorted(values[10:], reverse=True)
    assert values[100] == pytest.approx(0.2) and values[119] == pytest.approx(0.2)


def test_half_way_down_each_schedule_is_where_its_formula_says():
    half = 10 + 45
    assert rates(onecycle)[half] == pytest.approx(2.0 * 0.55)
    assert rates(cosine)[half] == pytest.approx(2.0 * 0.55)
    assert rates(exponential)[half] == pytest.approx(2.0 * 0.1**0.5)


def test_a_schedule_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="total_steps must be >= 1"):
        rates(onecycle, total_steps=0)


class HalfReleased(Backbone):
    """A backbone of which one part has released weights and the other starts from nothing."""

    def __init__(self):
        super().__init__()
        self.trunk, self.stem = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)

    def weight_targets(self):
        return (WeightTarget(name="trunk", module=self.trunk, convert=dict),)


def test_released_parts_learn_more_slowly_and_vectors_are_not_decayed():
    net = nn.Module()
    net.backbone, net.head = HalfReleased(), nn.Linear(2, 2)
    net.head.bias.requires_grad_(requires_grad=False)
    optimisation = Optimisation(
        lambda groups: torch.optim.AdamW(groups, lr=1.0, weight_decay=0.1),
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
        backbone_lr_scale=0.1,
        lr_batch=None,
        lr_batch_power=0.5,
    )
    optimizer, _ = optimisation(net, 8)
    found = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups}
    assert found == {(0.1, 0.1): 1, (0.1, 0.0): 1, (1.0, 0.1): 2}


def test_the_average_follows_closely_at_first_and_slowly_later():
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = WeightAverage(net, decay=0.999)
    nn.init.ones_(net.weight)
    average.update(net)
    assert average.weights["weight"].item() == pytest.approx(1 - 2 / 11)
    average.num_updates = 10**6
    nn.init.zeros_(net.weight)
    before = average.weights["weight"].item()
    average.update(net)
    assert average.weights["weight"].item() == pytest.approx(0.999 * before)
