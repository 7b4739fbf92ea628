"""A plan follows from prices, and prices from what was measured."""

import json
import runpy
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from retracker.commands.scale_model import TERMS, Cluster, Measured, Prices, Size, all_reduce, fit, plan

TOOL = Path(__file__).parents[2] / "tools" / "scale_plan.py"
TRUE = dict(zip(TERMS, (0.02, 0.003, 0.5, 1.0, 1e-4, 2e-3), strict=True))
SIZES = [
    Size(clips=1, frames=frames, points=points, height=side, width=side)
    for side, frames, points in product((96, 256, 512), (4, 16), (16, 256))
]
CLUSTER = Cluster(
    gpus=8, gpus_per_node=8, link_gb=200, network_gb=20, overlap=0.5, workers=8, memory_gb=80, speed=1
)
ONE = Prices({**dict.fromkeys(TERMS, 0.0), "F": 0.01}, 0.0)
MEASURED = Measured(
    passes=ONE,
    backward_share=0.5,
    data=Prices({**dict.fromkeys(TERMS, 0.0), "F": 0.02}, 0.0),
    saved=Prices({**dict.fromkeys(TERMS, 0.0), "F": 100.0}, 0.0),
    update_seconds=0.01,
    fixed_mib=1000.0,
    reduced_mib=1000.0,
    spread=0.0,
)
CLIP = Size(clips=1, frames=10, points=1, height=1, width=1)


def test_prices_are_found_again_and_predict_sizes_that_were_not_measured():
    prices = fit(SIZES, [Prices(TRUE, 0.0).total(size) for size in SIZES])
    assert prices.of == pytest.approx(TRUE, rel=1e-6) and prices.worst < 1e-6
    unseen = Size(clips=4, frames=24, points=1000, height=384, width=640)
    assert prices.total(unseen) == pytest.approx(Prices(TRUE, 0.0).total(unseen))


def test_no_price_is_negative_whatever_was_measured():
    prices = fit(SIZES, [1.0 / (1 + index) for index in range(len(SIZES))])
    assert min(prices.of.values()) >= 0 and prices.worst > 0.1


def test_too_few_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 6 measured sizes, got 5"):
        fit(SIZES[:5], [1.0] * 5)


def test_a_ring_moves_twice_the_gradients_over_its_slowest_link():
    # 2 x 7/8 x 1000 MiB at 200 GB/s; between two nodes at 20 GB/s.
    assert all_reduce(1000.0, CLUSTER) == pytest.approx(2 * 7 / 8 * 1000 * 2**20 / 200e9)
    assert all_reduce(1000.0, replace(CLUSTER, gpus=16)) == pytest.approx(2 * 15 / 16 * 1000 * 2**20 / 20e9)
    assert all_reduce(1000.0, replace(CLUSTER, gpus=1)) == 0


def test_a_step_is_computing_and_what_of_the_network_does_not_hide_behind_it():
    found = plan(MEASURED, replace(CLUSTER, gpus=16), CLIP, global_batch=16)
    reduce = 2 * 15 / 16 * 1000 * 2**20 / 20e9  # 0.098 s; hidden: half of the backward pass, 0.025 s
    assert found.exposed == pytest.approx(reduce - 0.025)
    assert found.step == pytest.approx(0.1 + reduce - 0.025 + 0.01)
    assert found.memory_mib == 2000 and found.limit == "computing"


def test_with_too_few_workers_data_set_the_pace():
    found = plan(MEASURED, replace(CLUSTER, workers=1), CLIP, global_batch=8)
    assert found.step == pytest.approx(0.2) and found.limit.startswith("data")


def test_what_does_not_fit_at_once_is_accumulated_and_must_come_out_even():
    once, twice = (plan(MEASURED, CLUSTER, CLIP, global_batch=8 * n) for n in (1, 2))
    assert twice.compute == 2 * once.compute and twice.memory_mib == once.memory_mib
    with pytest.raises(ValueError, match="multiple of gpus x batch, 8 x 1, got 12"):
        plan(MEASURED, CLUSTER, CLIP, global_batch=12)


def test_more_gpus_wait_longer_for_the_slowest():
    uneven = replace(MEASURED, spread=0.1)
    waits = [plan(uneven, replace(CLUSTER, gpus=n), CLIP, global_batch=64).straggle for n in (1, 8, 64)]
    shares = [wait / (64 / n * 0.1) for wait, n in zip(waits, (1, 8, 64), strict=True)]
    assert shares[0] == 0 and shares[0] < shares[1] < shares[2]


def report_of(size):
    """What would be measured if the prices were true."""
    seconds = Prices(TRUE, 0.0).total(size)
    parts = {"data, one process": seconds, "encode": 0.4 * seconds, "backward": 0.6 * seconds}
    return {
        "setting": {"device": "cpu", "precision": "32-true", "batch": 1, "frames": size.frames}
        | {"points": size.points, "height": size.height, "width": size.width},
        "seconds": parts | {"optimiser": 0.01, "average": 0.0},
        "spread": 0.05,
        "memory": {"saved for backward MiB": seconds * 1000, "weights and optimiser MiB": 50.0}
        | {"gradients to reduce MiB": 10.0},
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "scale.json"
    path.write_text(json.dumps({"overrides": [], "reports": [report_of(size) for size in SIZES]}))
    return path


def test_the_tool_plans_a_line_for_each_number_of_gpus(file, capsys):
    main = runpy.run_path(str(TOOL))["main"]
    assert main(["--plan", str(file), "gpus=8,16", "frames=24", "points=256", "size=768"]) == 0
    said = capsys.readouterr().out
    assert "extrapolation" in said and "computing" in said and "measured on: cpu" in said


@pytest.mark.parametrize("word", ["gpus=0", "gpus=x", "frame=3", "size=-1", "points"])
def test_a_mistake_in_a_plan_is_one_line_and_exit_code_2(file, word, capsys):
    assert runpy.run_path(str(TOOL))["main"](["--plan", str(file), word]) == 2
    assert word in capsys.readouterr().err
