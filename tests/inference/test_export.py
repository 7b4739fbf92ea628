"""What is exported says what the net says, in another runtime and from the very same state."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from retracker.inference.export import FORMAT, FrameStep, export, named
from retracker.inference.online import OnlineTracker
from retracker.inference.slots import Slots

TOOL = Path(__file__).parents[2] / "tools" / "export.py"
POINTS = 4
CLOSE = {"atol": 1e-3, "rtol": 0}  # px and shares: what is promised
MISSING = "onnx, onnxscript and onnxruntime are options: pip install them to export"


@pytest.fixture
def small(model):
    """The net with one iteration for each level: tracing takes a third of the time."""
    model.refiner.iterations = [1, 1, 1]
    model.refiner.level_of_iteration = (0, 1, 2)
    return model


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture
def exported(small, folder):
    """The folder with the graph of ``small``, made once; skips where the packages are missing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=MISSING)
    if not (folder / "track.json").exists():
        export(small, folder, height=48, width=64, points=POINTS)
    return folder


@pytest.fixture
def tracker(exported):
    from retracker.inference.exported import ExportedTracker  # noqa: PLC0415 -- needs onnxruntime

    return ExportedTracker(exported / "track.onnx", threads=1)


@pytest.fixture(scope="session")
def frames(sample):
    return sample.video[:, :, :48]


def test_a_frame_of_plain_tensors_is_a_step_of_the_net_to_the_bit(small, frames):
    step = FrameStep(small, 48, 64, 2)
    xy = torch.tensor([[20.0, 30.0], [40.0, 12.0]])
    state, ours = list(step.start().values()), None
    with torch.no_grad():
        for t, frame in enumerate(frames[:4]):
            born = torch.tensor([t == 0, t == 2])
            found, visible, confidence, *state = step(frame, xy, born, *state)
            expected, ours = small.step(small.encode(frame[None]), ours, xy[None], born[None])
            alive = ours.alive[0]
            assert torch.equal(found[alive], expected.xy[0, alive])
            assert torch.equal(visible[alive], expected.visible[0, alive])
            assert torch.equal(confidence[alive], expected.confidence[0, alive])
    assert list(step.start()) == list(named(ours))
    filled = ours.memory.filled[0, alive] > 0
    for (name, theirs), own in zip(named(ours).items(), state, strict=True):
        pair = own[alive], theirs[0, alive]
        if name in ("memory_keys", "memory_values"):  # N L F D: what lies where nothing is filled is nobody's
            pair = tuple(ring.transpose(1, 2)[filled] for ring in pair)
        assert torch.equal(*pair), name


def test_onnxruntime_answers_a_step_as_torch_does(small, tracker, frames):
    step = FrameStep(small, 48, 64, POINTS)
    xy = torch.tensor([[20.0, 30.0], [40.0, 12.0], [1.0, 47.5], [63.0, 2.0]])
    state = list(step.start().values())
    for t, frame in enumerate(frames):
        inputs = (frame, xy, torch.tensor([0, 0, 2, 4]) == t, *state)
        with torch.no_grad():
            outputs = step(*inputs)
        answers = tracker.answer(*(x.numpy() for x in inputs))
        state, alive = list(outputs[3:]), outputs[3]
        for ours, theirs in zip(outputs, answers, strict=True):
            other = torch.from_numpy(theirs)
            assert other.dtype == ours.dtype
            torch.testing.assert_close(ours[alive].float(), other[alive].float(), **CLOSE)


def test_the_exported_tracker_is_the_online_tracker(small, tracker, frames):
    slots = Slots(small, POINTS, subpixel=False)
    arrivals = {0: [[20.0, 30.0], [40.0, 12.0], [9.0, 9.0]], 2: [[50.0, 40.0]], 4: [[30.0, 20.0]]}
    for t, frame in enumerate(frames):
        if t == 3:
            tracker.remove_queries([1])
            slots.remove(1)
        xy = arrivals.get(t, [])
        for key, start in zip(tracker.add_queries(np.reshape(xy, (-1, 2))).tolist(), xy, strict=True):
            slots.add(key, tuple(start))
        with torch.no_grad():
            expected = slots.step(small.encode(frame[None]), [frame])
        given = frame.numpy() if t % 2 else frame.permute(1, 2, 0).numpy()
        found = tracker.step(given)
        assert found.ids.tolist() == expected.ids.tolist()
        # Each goes on from its own state, and random weights magnify what rounding differs by.
        np.testing.assert_allclose(found.tracks, expected.tracks, atol=2e-2)
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-3)
        if t == 4:  # born in the slot that was freed
            assert found.tracks[-1].tolist() == [30.0, 20.0] and found.visible[-1]
    tracker.reset()
    assert tracker.add_queries([[1.0, 1.0]]).tolist() == [0]
    assert tracker.step(frames[0].numpy()).ids.tolist() == [0]


def test_the_exported_program_is_loaded_again_by_torch(small, exported, frames):
    step = FrameStep(small, 48, 64, POINTS)
    program = torch.export.load(exported / "track.pt2").module()
    inputs = (frames[0], torch.full((POINTS, 2), 20.0), torch.ones(POINTS).bool(), *step.start().values())
    with torch.no_grad():
        for ours, theirs in zip(step(*inputs), program(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_the_description_says_what_goes_in_and_out(small, exported):
    about = json.loads((exported / "track.json").read_text())
    state = [entry["name"].removeprefix("state_") for entry in about["inputs"][3:]]
    assert about["outputs"] == ["tracks", "visible", "confidence", *(f"next_{name}" for name in state)]
    assert about["inputs"][0] == {"name": "frame", "dtype": "uint8", "shape": [3, 48, 64]}
    assert (about["format"], about["points"]) == (FORMAT, POINTS)
    assert about["visible_threshold"] == small.visible_threshold
    assert about["weights"] == OnlineTracker(small).snapshot()["weights"]
    assert sorted(path.name for path in exported.iterdir()) == ["track.json", "track.onnx", "track.pt2"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda t: t.add_queries([[65.0, 1.0]]), r"query 0 at \(65, 1\) lies outside the frame of 64 x 48"),
        (lambda t: t.add_queries([[1.0, 1.0], [np.nan, 1.0]]), "query 1"),
        (lambda t: t.add_queries([1.0, 1.0]), r"shape \(N, 2\)"),
        (lambda t: t.add_queries(np.ones((5, 2))), "cannot follow 5 more points: 4 of 4 slots are free"),
        (lambda t: t.remove_queries([3]), "point 3 is not being followed"),
        (lambda t: t.step(np.zeros((3, 64, 64), np.uint8)), "expected a uint8 frame of 64 x 48 px"),
        (lambda t: t.step(np.zeros((3, 48, 64), np.float32)), "got float32"),
    ],
)
def test_what_the_exported_tracker_cannot_do_is_said(tracker, act, message):
    with pytest.raises(ValueError, match=message):
        act(tracker)


def test_a_file_of_another_format_is_refused(tracker, tmp_path):
    (tmp_path / "track.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="expected an export of format 1, got 99"):
        type(tracker)(tmp_path / "track.onnx")


def test_the_exported_tracker_needs_no_torch():
    pytest.importorskip("onnxruntime", reason=MISSING)
    code = "import retracker.inference.exported, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--height", "8"], "height: expected at least 32, got 8"),
        (["--points", "0"], "points: expected at least 1, got 0"),
        (["--ckpt", "nosuch"], "there is no checkpoint 'nosuch'"),
        (["--video", "nosuch.mp4"], "nosuch.mp4"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    pytest.importorskip("onnxruntime", reason=MISSING)
    main = runpy.run_path(str(TOOL))["main"]
    assert main([*arguments, "--frames", "2", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_tool_exports_the_packaged_weights_and_finds_them_equal(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason=MISSING)
    main = runpy.run_path(str(TOOL))["main"]
    size = ["--height", "96", "--width", "128", "--points", "16", "--frames", "8"]
    assert main([*size, "--out", str(tmp_path)]) == 0
    assert "checked: equal" in capsys.readouterr().out
