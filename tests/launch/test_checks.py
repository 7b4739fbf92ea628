"""Each check says one sentence, and stops what could not run."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from retracker.configuration import compose_config
from retracker.launch import checks
from retracker.launch.checks import FAILURE, GIGABYTE, OK, WARNING, Plan
from retracker.launch.place import ALONE, Place

TOOL = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "tools" / "preflight.py")))
ON_CPU = ("+experiment=tracking", "trainer.accelerator=cpu", "data.num_workers=0")


def plan(folder, **changes):
    usual = dict(
        num_processes=1,
        num_workers=2,
        num_parameters=10**6,
        precision="32-true",
        on_gpu=False,
        wants_gpu=False,
    )
    return Plan(output_dir=Path(folder), **{**usual, **changes})


@pytest.mark.parametrize(
    ("built_for", "supported", "level", "word"),
    [
        ("13.0", (13, 0), OK, "13.0"),
        ("13.2", (13, 0), OK, "13.0"),  # minor versions of CUDA run on one another's drivers
        ("12.8", (13, 0), OK, "12.8"),
        ("13.0", (12, 8), FAILURE, "newer driver"),
        ("13.0", None, OK, "none is installed"),
        (None, (13, 0), OK, "CPUs only"),
    ],
)
def test_a_driver_older_than_the_cuda_of_torch_is_refused(built_for, supported, level, word):
    found = checks.driver(built_for, supported)
    assert found.level == level and word in found.told


@pytest.mark.parametrize(
    ("precision", "capability", "level"),
    [
        ("bf16-mixed", (8, 0), OK),
        ("bf16-mixed", (9, 0), OK),
        ("bf16-mixed", (7, 5), WARNING),
        ("32-true", (7, 5), OK),
        ("32-true", (6, 1), FAILURE),
        ("32-true", (12, 0), OK),
    ],
)
def test_a_gpu_must_have_kernels_and_should_have_bf16(precision, capability, level):
    built_for = ["sm_75", "sm_80", "sm_90a", "sm_120f"]
    assert checks.arithmetic(precision, capability, built_for).level == level


def test_disk_must_hold_every_checkpoint_that_is_kept(tmp_path):
    planned = plan(tmp_path, num_parameters=300_000_000)  # 4.8e9 bytes a checkpoint, 2.4e10 for five
    for free, level in ((23 * 10**9, FAILURE), (25 * 10**9, WARNING), (100 * GIGABYTE, OK)):
        assert checks.disk(planned, free).level == level
    assert checks.disk(replace(planned, num_checkpoints=4), 20 * 10**9).level == WARNING


def test_a_run_that_goes_on_needs_no_room_for_what_it_has_written_already(tmp_path):
    planned = plan(tmp_path, num_parameters=300_000_000)
    (tmp_path / "checkpoints").mkdir()
    for name in ("last", "last.1", "last.2", "best"):
        with (tmp_path / "checkpoints" / f"{name}.ckpt").open("w") as file:
            file.truncate(4_800_000_000)  # takes no room
    found = checks.disk(planned, 5 * 10**9)
    assert found.level == WARNING and "17.9 GB of them there" in found.told
    assert checks.disk(planned, 4 * 10**9).level == FAILURE  # one more must fit in any case


def test_the_plan_counts_checkpoints_as_the_callback_keeps_them():
    made = TOOL.plan_of(
        compose_config("train", [*ON_CPU, "callbacks.checkpoints.keep=7"]), Place(ALONE, 0, 1, 1), 1
    )
    assert made.num_checkpoints == 9  # and the best, and the one being written


def test_a_place_that_cannot_be_written_is_told_with_what_would_be_right(tmp_path):
    assert checks.writable(tmp_path / "not" / "yet" / "there").level == OK
    assert not (tmp_path / "not").exists()  # looking leaves nothing behind
    (tmp_path / "file").touch()
    found = checks.writable(tmp_path / "file")
    assert found.level == FAILURE and "RETRACKER_OUTPUTS" in found.told


def test_workers_need_shared_memory(tmp_path):
    assert checks.shared_memory(plan(tmp_path, num_workers=0), tmp_path).told == "not needed: no data workers"
    found = checks.shared_memory(plan(tmp_path, num_processes=10**6), tmp_path)  # no disk is as large
    assert found.level == WARNING and "would be safe" in found.told


def test_more_processes_than_gpus_or_none_where_one_is_wanted_is_refused(tmp_path):
    wanting = plan(tmp_path, on_gpu=torch.cuda.is_available(), wants_gpu=True, num_processes=10**3)
    assert FAILURE in {found.level for found in checks.gpus(wanting)}
    [found] = checks.gpus(plan(tmp_path, num_processes=10**3))  # accelerator=cpu, wherever
    assert found.level == OK


@pytest.mark.gpu
def test_a_gpu_is_named_with_its_memory(tmp_path):
    found = list(checks.machine(plan(tmp_path, on_gpu=True, wants_gpu=True, precision="bf16-mixed")))
    assert any(torch.cuda.get_device_name(0) in each.told for each in found)
    assert all(each.level != FAILURE for each in found)


@pytest.mark.parametrize(
    ("overrides", "place", "processes", "expected"),
    [
        (("trainer.devices=3",), Place(ALONE, 0, 1, 1), None, 3),
        (("trainer.devices=[0,1]",), Place(ALONE, 0, 1, 1), None, 2),
        (("trainer.devices='4'",), Place(ALONE, 0, 1, 1), None, 4),
        (("trainer.devices=auto",), Place(ALONE, 0, 1, 1), None, 1),
        (("trainer.devices=3",), Place("torchrun", 1, 8, 2), None, 4),
        ((), Place(ALONE, 0, 1, 1), 2, 2),
    ],
)
def test_the_plan_counts_the_processes_of_this_machine(overrides, place, processes, expected):
    made = TOOL.plan_of(compose_config("train", [*ON_CPU, *overrides]), place, processes)
    assert made.num_processes == expected and made.precision == "32-true"
    assert made.num_parameters > 10**6 and not made.wants_gpu


def test_the_tool_tells_people_and_programs_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RETRACKER_OUTPUTS", str(tmp_path))
    assert TOOL.main([*ON_CPU, "total_steps=3"]) == 0
    lines = capsys.readouterr().out
    assert TOOL.main(["--json", *ON_CPU]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["processes"] == 1 and told["output_dir"].startswith(str(tmp_path))
    for finding in told["findings"]:
        assert finding["level"] != FAILURE and f" {finding['check']}: " in lines


def test_what_must_be_put_right_is_exit_code_2_and_a_line_each(tmp_path, capsys):
    (tmp_path / "taken").touch()
    with pytest.raises(SystemExit) as ended:
        TOOL.main([*ON_CPU, f"paths.output_dir={tmp_path / 'taken'}"])
    [line] = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2 and line.startswith("error: ") and "taken: nothing can be written" in line
    assert TOOL.main(["totl_steps=3"]) == 2
    assert sys.exc_info()[0] is None
