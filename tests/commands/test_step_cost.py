"""The cost of a training step adds up, and can be compared with what it was."""

import json

import pytest

from retracker.commands.net_parts import parts_of, watched
from retracker.commands.step_report import main

SMALL = (
    *("+experiment=tracking", "trainer=cpu", "data.batch_size=1", "data.train.synthetic.size=64"),
    *("data.train.synthetic.num_frames=3", "data.train.synthetic.num_points=4"),
)
OUTER = ("encode", "coarse", "refiner", "memory", "loss", "forward, rest")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("cost") / "before.json"
    assert main(["--repeats", "1", "--json", str(path), *SMALL]) == 0
    return path


def test_the_parts_of_a_step_make_up_the_step(report):
    found = json.loads(report.read_text())
    seconds = found["seconds"]
    parts = [seconds[name] for name in (*OUTER, "backward", "optimiser", "average")]
    assert min(*parts, seconds["data, one process"]) > 0
    assert sum(parts) <= seconds["step"] * (1 + 1e-6)  # between parts, others may have had the processor
    assert seconds["refiner, level 0"] + seconds["refiner, level 1"] < seconds["refiner"]
    assert seconds["encode, backbone"] < seconds["encode"]
    assert found["setting"] | {"frames": 3, "points": 4, "height": 64, "width": 64} == found["setting"]


def test_operations_and_memory_are_counted(report):
    found = json.loads(report.read_text())
    operations, memory = found["operations"], found["memory"]
    # The backward pass of a matrix product is two of them; the frozen backbone has none.
    learnt = operations["step"] - operations["backward"] - operations["encode, backbone"]
    assert learnt < operations["backward"] < 2 * (operations["step"] - operations["backward"])
    assert 0 < memory["saved for backward MiB"] < memory["peak MiB"]
    assert memory["weights and optimiser MiB"] > 4 * memory["gradients to reduce MiB"] > 0


def test_a_report_beside_an_earlier_one_says_what_is_not_the_same(report, capsys):
    assert main(["--repeats", "1", "--against", str(report), *SMALL, "data.batch_size=2"]) == 0
    said = capsys.readouterr().out
    assert "now / before" in said and "not the same setting: batch was 1, is 2" in said


def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "other.json").write_text("{}")
    assert main(["--against", str(tmp_path / "other.json"), *SMALL]) == 2
    assert "benchmark --train --json" in capsys.readouterr().err


def test_parts_are_as_before_once_they_are_no_longer_watched(net, batch):
    spent, held = {}, net.refiner.forward
    with watched(parts_of(net), lambda: 1.0, spent):
        kept = net.refiner.forward
        net(batch.video, batch.queries)
    assert set(spent) >= {"encode", "coarse", "refiner", "memory"} and net.refiner.forward == held
    assert kept != held and "forward" not in vars(net.refiner)
