"""What TAP-Vid's benchmarks make of answers: the golden vector, an independent formula, known mistakes."""

import math
import pickle
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch

from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.tapvid import TapVidBenchmark
from retracker.benchmarks.tracking import score_clip
from retracker.types import Queries, VideoSample

THRESHOLDS = (1, 2, 4, 8, 16)


def write(root, video):
    (root / "tapvid_davis.pkl").write_bytes(pickle.dumps({"goat": video}))


def open_davis(root, query_mode="first", resolution=256):
    return TapVidBenchmark("named", str(root), ["tapvid_davis.pkl"], "davis", query_mode, resolution)


def stored(points, hidden, height=256, width=256):
    frames = np.zeros((points.shape[1], height, width, 3), np.uint8)
    return {"video": frames, "points": points, "occluded": hidden}


def said(tracks, visible):
    """An answer of tracks (N T 2) and visibility (N T)."""
    visible = torch.as_tensor(visible).T
    tracks = torch.as_tensor(tracks, dtype=torch.float32).transpose(0, 1)
    return Tracked(tracks=tracks, visible=visible, confidence=visible.float())


def stays(seen, queries):
    visible = torch.arange(len(seen))[:, None] >= queries[None, :, 0]
    tracks = queries[None, :, 1:].repeat(len(seen), 1, 1)
    return Tracked(tracks=tracks, visible=visible, confidence=visible.float())


@pytest.mark.parametrize(
    ("query_mode", "accuracy", "within", "jaccard"),
    [
        ("first", 2 / 3, (1 / 6, 0.5, 5 / 6, 5 / 6, 5 / 6), (1 / 12, 0.3, 0.625, 0.625, 0.625)),
        ("strided", 0.6, (1 / 6, 0.5, 5 / 6, 5 / 6, 5 / 6), (1 / 13, 3 / 11, 5 / 9, 5 / 9, 5 / 9)),
    ],
)
def test_the_golden_vector_through_the_benchmark(tmp_path, query_mode, accuracy, within, jaccard):
    time = np.arange(6.0)
    truth = np.stack(
        [np.stack([10.5 + 4 * time, 20.5 + 0 * time], -1), np.stack([100 + 0 * time, 50 + time], -1)]
    )
    hidden = np.array([[0, 0, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1]], bool)
    write(tmp_path, stored(truth / 256, hidden))
    benchmark = open_davis(tmp_path, query_mode)
    item = benchmark.read(0)
    if query_mode == "strided":  # its queries are those of the first mode; point 1 is asked for in frame 1
        item = open_davis(tmp_path).read(0)
    moved = np.array([
        [(0, 0), (0.5, 0.5), (1, 0), (3, 0), (0, 0), (0, 3)],
        [(9, 9), (0, 0), (2, 0), (1.5, 0), (0, 17), (0, 0)],
    ])  # fmt: skip
    said_hidden = np.array([[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0]], bool)
    scores = benchmark.score(item, said(truth + moved, ~said_hidden))
    assert scores["occlusion_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    for values, name in ((within, "pts_within"), (jaccard, "jaccard")):
        assert [scores[f"{name}_{t}"] for t in THRESHOLDS] == pytest.approx(values, abs=1e-12)
    assert scores["average_pts_within_thresh"] == pytest.approx(sum(within) / 5, abs=1e-12)
    assert scores["average_jaccard"] == pytest.approx(sum(jaccard) / 5, abs=1e-12)


def by_counting(points, hidden, queries, answer, query_mode):
    """The protocol once more, a point and a frame at a time."""
    counted = right = 0
    tally = {t: dict.fromkeys(("visible", "within", "hits", "false"), 0) for t in THRESHOLDS}
    for n, (born, point) in enumerate(queries):
        for t in range(points.shape[1]):
            if t == born or (query_mode == "first" and t < born):
                continue
            visible, claimed = not hidden[point, t], bool(answer.visible[t, n])
            counted += 1
            right += visible == claimed
            x, y = (float(z) * 256 for z in points[point, t])
            dx, dy = (float(a) - b for a, b in zip(answer.tracks[t, n], (x, y), strict=True))
            for threshold, row in tally.items():
                within = dx * dx + dy * dy < threshold * threshold
                row["visible"] += visible
                row["within"] += visible and within
                row["hits"] += visible and within and claimed
                row["false"] += claimed and not (visible and within)
    found = {"occlusion_accuracy": right / counted}
    for t, row in tally.items():
        found[f"pts_within_{t}"] = row["within"] / row["visible"]
        found[f"jaccard_{t}"] = row["hits"] / (row["visible"] + row["false"])
    return found


@pytest.mark.parametrize("query_mode", ["first", "strided"])
@pytest.mark.parametrize("seed", range(4))
def test_random_answers_score_digit_for_digit_as_the_protocol_counted_by_hand(tmp_path, query_mode, seed):
    rng = np.random.default_rng(seed)
    points, hidden = rng.random((6, 12, 2), np.float32), rng.random((6, 12)) < 0.4
    points[0], hidden[0, :2] = 0.5, False  # a point for distances that are exactly a threshold
    write(tmp_path, stored(points, hidden))
    benchmark = open_davis(tmp_path, query_mode)
    item = benchmark.read(0)
    owners = [
        int(np.flatnonzero((256 * points == track.numpy()).all((1, 2)))[0])
        for track in item.tracks.transpose(0, 1)
    ]
    queries = list(zip(item.queries.frame.tolist(), owners, strict=True))
    apart = rng.choice([0, 0.5, 1, 2, 3, 4, 8, 16, 20], (*item.visible.T.shape, 1)) * [[[0.6, -0.8]]]
    apart[:3] = rng.choice([-16, -4, 0, 1, 2, 8], (*apart[:3].shape[:2], 1)) * [[[1, 0]]]
    answer = said(item.tracks.transpose(0, 1).numpy() + apart, rng.random(apart.shape[:2]) < 0.6)
    scores = benchmark.score(item, answer)
    expected = by_counting(points, hidden, queries, answer, query_mode)
    assert {name: scores[name] for name in expected} == expected
    for name, parts in (("average_jaccard", "jaccard"), ("average_pts_within_thresh", "pts_within")):
        assert scores[name] == pytest.approx(sum(expected[f"{parts}_{t}"] for t in THRESHOLDS) / 5, abs=1e-15)


def test_everything_visible_that_never_moves_scores_as_computed_by_hand(tmp_path):
    x = np.array([[100.0, 100, 100, 100], [50, 53, 56, 59]])  # one stands still, one moves by 3 px a frame
    points = np.stack([x, np.full_like(x, 80.0)], -1) / 256
    hidden = np.array([[0, 0, 0, 0], [0, 0, 1, 0]], bool)
    write(tmp_path, stored(points, hidden))
    benchmark = open_davis(tmp_path)
    item = benchmark.read(0)
    scores = benchmark.score(item, benchmark.ask(stays, item))
    assert scores["occlusion_accuracy"] == 5 / 6
    # 3 + 2 visible points count; the mover is 3 and 9 px off in those, and visible where it should not be.
    assert [scores[f"pts_within_{t}"] for t in THRESHOLDS] == [3 / 5, 3 / 5, 4 / 5, 4 / 5, 1.0]
    assert [scores[f"jaccard_{t}"] for t in THRESHOLDS] == [3 / 8, 3 / 8, 4 / 7, 4 / 7, 5 / 6]


@pytest.mark.parametrize(("native_px", "inside"), [(0.4375, 1.0), (0.5, 0.0)])
def test_a_native_answer_is_measured_at_256_to_the_half_pixel(tmp_path, native_px, inside):
    """Of 128 px width, half a pixel is exactly one at 256, and that is not less than one."""
    points = np.random.default_rng(0).integers(0, 128, (5, 4, 2)) / 128
    write(tmp_path, stored(points, np.zeros((5, 4), bool), height=64, width=128))
    benchmark = open_davis(tmp_path, resolution="native")
    item = benchmark.read(0)
    assert item.video.shape[-2:] == (64, 128)
    answer = said(item.tracks.transpose(0, 1).numpy() + [native_px, 0], np.ones((5, 4), bool))
    assert benchmark.score(item, answer)["pts_within_1"] == inside
    # 64 px high: a quarter of a pixel is one at 256.
    answer = said(item.tracks.transpose(0, 1).numpy() + [0, native_px / 2], np.ones((5, 4), bool))
    assert benchmark.score(item, answer)["pts_within_1"] == inside


@pytest.mark.parametrize(
    ("mistake", "size", "lost"),
    [
        (lambda xy: xy + 0.5, (256, 256), (1.87, 2.16, 8.69)),
        (lambda xy: xy + 0.5, (480, 854), (0.30, 0.33, 1.24)),
        (lambda xy: xy * 255 / 256, (256, 256), (3.07, 3.71, 15.6)),
        (torch.round, (256, 256), (0.56, 0.62, 2.50)),
    ],
)
def test_known_mistakes_cost_a_good_tracker_what_they_are_known_to(mistake, size, lost):
    """A tracker of AJ 64, delta 81, of which 55 % within 1 px, OA 91: errors of log-normal length."""
    item, answer = typical(*size, num_frames=100, num_points=2000)
    before = score_clip(item, answer)
    after = score_clip(item, replace(answer, tracks=mistake(answer.tracks)))
    names = ("average_jaccard", "average_pts_within_thresh", "pts_within_1")
    assert [100 * before[name] for name in (*names, "occlusion_accuracy")] == pytest.approx(
        [63.6, 80.8, 54.6, 91.0], abs=0.3
    )
    assert [100 * (before[name] - after[name]) for name in names] == pytest.approx(lost, abs=0.5)


def typical(height, width, num_frames, num_points):
    """An item, and an answer that is as wrong as good trackers are; px of a video of that size."""
    rng, shape = np.random.default_rng(0), (num_frames, num_points)
    ranks = rng.permutation(math.prod(shape)).reshape(shape) + 0.5
    normal = NormalDist()
    length = np.exp([normal.inv_cdf(rank / math.prod(shape)) * 1.463 - 0.169 for rank in ranks.ravel()])
    angle = rng.random(shape) * 2 * math.pi
    error = length.reshape(*shape, 1) * np.stack([np.cos(angle), np.sin(angle)], -1)
    scale = np.array([width / 256, height / 256])
    truth = rng.random((*shape, 2)) * 256
    visible = torch.from_numpy(rng.random(shape) < 0.8)
    visible[0] = True
    everywhere = torch.ones(shape, dtype=torch.bool)
    item = VideoSample(
        video=torch.zeros(num_frames, 3, 1, 1, dtype=torch.uint8).expand(-1, -1, height, width),
        queries=Queries(
            xy=torch.from_numpy(truth[0] * scale), frame=torch.zeros(num_points, dtype=torch.long)
        ),
        tracks=torch.from_numpy(truth * scale),
        visible=visible,
        labelled=everywhere,
        located=everywhere,
        name="typical",
    )
    shown = visible ^ torch.from_numpy(rng.random(shape) < 0.09)
    tracks = torch.from_numpy((truth + error) * scale).float()
    return item, Tracked(tracks=tracks, visible=shown, confidence=shown.float())
