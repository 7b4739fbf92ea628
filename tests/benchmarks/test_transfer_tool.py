"""tools/transfer.py: forth and back, and pairs with known truth."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from retracker.benchmarks.baselines import stay
from retracker.benchmarks.cycle import Cycle, textured
from retracker.benchmarks.protocol import Tracked
from retracker.media.video import write_video

TOOL = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "tools" / "transfer.py")))
POINTS = torch.tensor([[10.0, 20.0], [30.0, 5.0], [60.0, 40.0]])


def drift(step, hidden=None):
    """A tracker that moves every point by ``step`` px a frame; hides one in the last frame."""

    def track(video, queries):
        times = torch.arange(len(video))[:, None, None]
        tracks = queries[:, 1:] + times * torch.tensor(step)
        visible = torch.ones(tracks.shape[:2], dtype=torch.bool)
        if hidden is not None:
            visible[-1, hidden] = False
        return Tracked(tracks=tracks, visible=visible, confidence=visible.float())

    return track


def test_what_drifts_both_ways_ends_twice_as_far_away():
    video = torch.zeros(4, 3, 48, 64, dtype=torch.uint8)
    found = TOOL.cycle(drift([1.0, 0.5], hidden=1), video, POINTS)
    torch.testing.assert_close(found.error[0], torch.tensor([6.0, 3.0]).norm())
    # The second is hidden, the third would leave the frame forth (63 px) and is still inside.
    assert found.kept.tolist() == [True, False, True]
    scores = found.scores()
    assert round(scores["survived %"], 1) == 66.7 and round(scores["moved px"], 2) == 3.35


def test_half_of_all_points_come_back_to_within_the_middle_error_and_lost_ones_never():
    there = Tracked(tracks=torch.zeros(2, 5, 2), visible=torch.ones(2, 5).bool(), confidence=torch.ones(2, 5))
    error, yes, no = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]), torch.ones(5).bool(), torch.zeros(5).bool()
    lost = torch.tensor([False, True, True, True, True])
    for kept, half in ((yes, 0.3), (lost, 0.4), (no, torch.inf)):
        scores = Cycle(there=there, error=error, kept=kept, textured=yes).scores()
        assert scores["half within px"] == pytest.approx(half)


def test_a_point_that_leaves_the_frame_is_not_kept():
    video = torch.zeros(9, 3, 48, 64, dtype=torch.uint8)
    found = TOOL.cycle(drift([1.0, 0.0]), video, POINTS)
    assert found.kept.tolist() == [True, True, False]
    assert found.scores()["survived %"] == 0  # 16 px away


def test_staying_survives_and_moves_nowhere():
    video = torch.randint(
        0, 256, (4, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    scores = TOOL.cycle(stay, video, POINTS).scores()
    shares = {"survived %": 100, "of textured %": 100, "kept %": 100}
    assert scores == shares | {"cycle error px": 0, "half within px": 0, "of all px": 0, "moved px": 0}


def test_what_stands_still_is_off_by_as_much_as_a_tracker_moves_it_even_if_that_comes_back():
    video = torch.zeros(4, 3, 48, 64, dtype=torch.uint8)
    there, back = (drift([sign * 0.5, 0.0]) for sign in (1, -1))
    answers = iter([there, back])
    found = TOOL.cycle(lambda *asked: next(answers)(*asked), video, POINTS)
    assert found.error.max() < 1e-5
    still = TOOL.in_parts(POINTS, [TOOL.rectangle("0,0,20,21"), TOOL.rectangle("25,4,31,6")])
    assert still.tolist() == [True, True, False]
    plain = pytest.approx(found.scores(), nan_ok=True)
    assert TOOL.scores_of(found, TOOL.in_parts(POINTS, [])) == plain
    of_still = {"still points": 2, "still off px": 1.5, "still <1 px %": 0}
    assert TOOL.scores_of(found, still) == pytest.approx(found.scores() | of_still, nan_ok=True)


def test_parts_and_sizes_that_make_no_sense_are_refused_before_anything_is_tracked(tmp_path, capsys):
    write_video(tmp_path / "clip.mp4", torch.zeros(3, 3, 48, 64, dtype=torch.uint8), fps=10)
    clip, out = str(tmp_path / "clip.mp4"), ["--out", str(tmp_path / "out")]
    for words, sentence in (
        ([clip, "--still", "60,44,61,45", "--frames", "2"], "clip.mp4: --still: no point of the grid lies"),
        (["--still", "0,0,9,9"], "--still: of clips, and none is given"),
        ([clip, "--image-size", "-4"], "--image-size: expected a positive number, got -4"),
    ):
        assert TOOL.main([*words, *out]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_results_are_json_that_others_read():
    scores = {"a": {"half within px": float("inf"), "points": 3, "error px": float("nan"), "of all px": 1.5}}
    kept = json.loads(json.dumps(TOOL.as_json(scores)), parse_constant=pytest.fail)
    assert kept == {"a": {"half within px": None, "points": 3, "error px": None, "of all px": 1.5}}


@pytest.mark.parametrize("part", ["1,2,3", "5,0,4,9", "a,b,c,d"])
def test_a_part_that_is_no_rectangle_is_refused(part, capsys):
    with pytest.raises(SystemExit, match="2"):
        TOOL.main(["--still", part])
    assert "--still" in capsys.readouterr().err


def test_edges_and_plain_walls_are_not_textured():
    frame = torch.zeros(3, 48, 64, dtype=torch.uint8)
    frame[:, :, 30:] = 200  # an edge down the frame, which says nothing of movement along it
    frame[:, 10:20, 10:14] = 255  # and a bar with corners
    points = torch.tensor([[30.0, 40.5], [10.5, 10.5], [50.5, 30.5]])
    assert textured(frame, points).tolist() == [False, True, False]


def test_a_disparity_map_is_read_at_the_pixel_and_says_where_it_knows_nothing():
    disparity = np.array([[2.0, np.inf], [0.0, 1.5]])
    points = torch.tensor([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [1.5, 1.5]])
    where, known = TOOL.by_disparity(points, disparity)
    assert known.tolist() == [True, False, False, True]
    assert where[0].tolist() == [-1.5, 0.5] and where[3].tolist() == [0.0, 1.5]


def test_a_matrix_of_opencv_counts_from_pixel_centres(tmp_path):
    path = tmp_path / "H.xml"
    path.write_text("<H><rows>3</rows><data> 2 0 0\n 0 2 0 0 0 1</data></H>")
    where, known = TOOL.by_homography(torch.tensor([[0.5, 0.5], [3.5, 1.5]]), TOOL.opencv_matrix(path))
    assert where.tolist() == [[0.5, 0.5], [6.5, 2.5]] and known.all()


def test_a_perfect_answer_of_a_pair_is_100_and_truth_outside_the_second_image_does_not_count():
    image = torch.zeros(3, 50, 100, dtype=torch.uint8)
    truth = lambda points: (points + torch.tensor([30.0, 0.0]), torch.ones(len(points), dtype=torch.bool))  # noqa: E731
    scores = TOOL.measure_pair(image, image, truth, drift([30.0, 0.0]), 10)
    assert scores["delta_avg"] == 100 and scores["points"] == 70
    assert (
        TOOL.measure_pair(image, image, truth, drift([29.0, 0.0]), 10)["<2 px %"] == 0
    )  # 2.56 px of the raster


def test_the_command_writes_tables_and_pictures(tmp_path, capsys):
    clip = tmp_path / "clip.mp4"
    noise = torch.randint(0, 255, (3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write_video(clip, noise.expand(7, -1, -1, -1), fps=10)
    command = [f"{clip}@1", "--frames", "4", "--grid", "3", "--out", str(tmp_path / "out")]
    assert TOOL.main(command) == 0
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(report["clips"]["clip from 1"]) == {"stay", "lucas_kanade", "ReTracker"}
    assert report["pairs"]["motorcycle"]["stay"]["delta_avg"] < 30
    assert (tmp_path / "out" / "clip_from_1.png").exists()
    printed = capsys.readouterr().out
    assert all(
        heading in printed for heading in ("survived %", "cycle error px", "half within px", "ReTracker")
    )
    assert TOOL.main([f"{clip}@6", "--frames", "4"]) == 2
    assert "ends before frame 10" in capsys.readouterr().err
