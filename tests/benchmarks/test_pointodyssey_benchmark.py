import math
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from films_made import films, masked_mean, opened, oracle, random_clip
from layouts import pointodyssey
from layouts.tiny import write_pictures
from toy import clip, stays

from retracker.media.video import count_frames
from retracker.metrics.redetection import redetection_jaccard

THRESHOLDS = (1, 2, 4, 8, 16)


def write_split(root, truths):
    pointodyssey.write(root, truths)
    return (root / "train").rename(root / "test")


def write_film(root, tracks, *, size=(54, 96), file="anno.npz", key="visibs", **arrays):
    """One film of the given positions (T N 2), all visible, unless other ``arrays`` are given."""
    folder = root / "test" / "ani"
    names = [f"rgb_{t:05d}.jpg" for t in range(len(tracks))]
    write_pictures(folder / "rgbs", names, *size)
    seen = np.ones(tracks.shape[:2], np.float32)
    np.savez(folder / file, **({"trajs_2d": tracks.astype(np.float32), key: seen} | arrays))
    return root


def still(num_frames=10, num_points=4):
    """Points that stand still, a pixel apart."""
    tracks = np.full((num_frames, num_points, 2), 20.0)
    tracks[..., 0] += np.arange(num_points)
    return tracks


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_split(root / "pointodyssey", films())
    return root


def test_films_of_the_test_split_are_read_whole_at_the_size_asked_for(data_root):
    benchmark = opened("pointodyssey", data_root, resolution=[32, 64])
    assert [benchmark.item_name(index) for index in range(len(benchmark))] == ["scene0", "scene1"]
    assert benchmark.title == "PointOdyssey, 32 x 64" and benchmark.protocol["input"] == "32 x 64"
    item, truth = benchmark.read(0), films()[0]
    assert item.video.shape == (16, 3, 32, 64)
    path = data_root / "pointodyssey" / "test" / "scene0" / "rgbs" / "rgb_00005.jpg"
    frame = cv2.resize(cv2.imread(str(path)), (64, 32), interpolation=cv2.INTER_LINEAR)[..., ::-1]
    assert np.array_equal(item.video[5].permute(1, 2, 0).numpy(), frame)
    edges = ((truth.tracks >= 1) & (truth.tracks <= torch.tensor([94.0, 62.0]))).all(-1)
    good = (edges & truth.visible)[0] & ((edges & truth.visible).sum(0) >= 8)
    assert 0 < good.sum() < len(good)
    expected = truth.tracks[:, good] * torch.tensor([64 / 96, 32 / 64])
    assert torch.equal(item.located, edges[:, good])
    assert torch.equal(item.tracks[item.located], expected[item.located])
    assert torch.equal(item.visible, (truth.visible & edges)[:, good])
    assert torch.equal(item.queries.xy, item.tracks[0]) and item.queries.frame.eq(0).all()


def test_native_frames_are_as_they_are_stored(data_root):
    item = opened("pointodyssey", data_root, resolution="native").read(1)
    assert item.video.shape == (16, 3, 64, 96)
    assert (item.video.float() - films()[1].video.float()).abs().mean() < 3  # JPEG


def test_the_truth_scores_100(data_root):
    benchmark = opened("pointodyssey", data_root)
    for index in range(2):
        item = benchmark.read(index)
        scores = benchmark.score(item, benchmark.ask(oracle(item), item))
        errors = {scores.pop("median_error"), scores.pop("median_error_visible")}
        assert errors == {0.0}
        assert {value for value in scores.values() if not math.isnan(value)} == {1.0}
        assert scores["average_jaccard_redetection"] == 1.0  # some point comes back
    metrics = {column.metric for column in (*benchmark.columns, *benchmark.headline)}
    metrics |= {metric for curve in benchmark.curves for metric in curve.metrics} | {benchmark.ranked_by}
    assert metrics <= {*scores, "median_error", "median_error_visible"}


@pytest.mark.parametrize("file", ["anno.npz", "annotations.npz"])
@pytest.mark.parametrize("key", ["visibs", "visibilities"])
def test_all_releases_are_read(tmp_path, file, key):
    benchmark = opened("pointodyssey", write_film(tmp_path, still(), file=file, key=key))
    assert benchmark.read(0).tracks.shape == (10, 4, 2)


def test_256_points_are_taken_at_even_steps(tmp_path):
    tracks = np.full((8, 600, 2), 20.0)
    tracks[..., 0] = 10 + np.arange(600) / 10
    item = opened("pointodyssey", write_film(tmp_path, tracks), resolution="native").read(0)
    wanted = np.linspace(0, 599, 256).astype(np.int32)
    assert torch.equal(item.tracks[0, :, 0], torch.from_numpy(tracks[0, wanted, 0].astype(np.float32)))


def kept(root, tracks, **arrays):
    """Which of the points of ``still`` are evaluated."""
    item = opened("pointodyssey", write_film(root, tracks, **arrays), resolution="native").read(0)
    return (item.tracks[0, :, 0] - 20).round().int().tolist(), item


def test_points_that_are_not_good_in_frame_0_are_left_out(tmp_path):
    tracks, seen, valid = still(num_points=6), np.ones((10, 6)), np.ones((10, 6))
    seen[0, 0], valid[0, 1], seen[0, 2] = 0, 0, 2  # hidden, not valid, without a depth
    tracks[0, 3, 1] = 0.5  # on the edge
    tracks[0, 4, 1] = np.nan
    assert kept(tmp_path, tracks, visibs=seen, valids=valid)[0] == [5]


def test_points_that_are_good_in_fewer_than_8_frames_are_left_out(tmp_path):
    seen, valid = np.ones((10, 4)), np.ones((10, 4))
    seen[8:, 0] = 0  # good in 8
    seen[7:, 1] = 0  # in 7
    seen[8:, 2], valid[7, 2] = 0, 0  # in 7
    assert kept(tmp_path, still(), visibs=seen, valids=valid)[0] == [0, 3]


def test_points_that_jump_are_left_out(tmp_path):
    tracks = still()
    tracks[9, 0, 1] += 511.9
    tracks[9, 1, 1] += 512.0
    tracks[9, 2, 1] = np.inf  # officially put at 0: no jump
    found, item = kept(tmp_path, tracks)
    assert found == [0, 2, 3]
    assert item.tracks[9, 0, 1] == 54 + 32 and not item.located[9, :2].any()  # clamped


@pytest.mark.parametrize(("x", "fine"), [(0.99, False), (1.0, True), (94.0, True), (94.01, False)])
def test_a_position_less_than_a_pixel_from_the_border_is_not_evaluated(tmp_path, x, fine):
    tracks = still()
    tracks[5, 0, 0] = x
    item = kept(tmp_path, tracks)[1]
    assert item.located[5].tolist() == item.visible[5].tolist() == [fine, True, True, True]


def never(video, queries):
    raise AssertionError(f"asked for {len(queries)} points in {len(video)} frames")


def test_a_film_without_a_point_is_not_tracked_and_measures_nothing(tmp_path):
    benchmark = opened("pointodyssey", write_film(tmp_path, still(num_frames=5)))  # good in 5 frames only
    item = benchmark.read(0)
    scores = benchmark.score(item, benchmark.ask(never, item))
    assert all(math.isnan(value) for value in scores.values())


def test_staying_where_one_is_asked_for_scores_what_one_computes_by_hand(data_root):
    # One point moves 10 px a frame and is hidden in frames 2 and 3, one stands still and is not valid in 1.
    tracks = [[[10.0 + 10 * t, 20.0], [30.0, 40.0]] for t in range(6)]
    item = clip(
        tracks, [[True, True], [True, False], [False, True], [False, True], [True, True], [True, True]]
    )
    item.located[1, 1] = False
    benchmark = opened("pointodyssey", data_root)
    scores = benchmark.score(item, benchmark.ask(stays, item))
    # Frames 1 to 5: errors 10, 20 ... 50 and four times 0.
    assert scores["pts_within_8_avg"] == 4 / 9 and scores["pts_within_16_avg"] == 5 / 9
    assert scores["delta_avg"] == pytest.approx((4 * 4 / 9 + 5 / 9) / 5, abs=1e-15)
    assert scores["delta_visible"] == pytest.approx((4 * 4 / 7 + 5 / 7) / 5, abs=1e-15)
    assert scores["survival_16"] == (2 + 6) / 12 and scores["survival_50"] == 1.0  # 50 is not beyond 50
    assert scores["median_error"] == (25 + 0) / 2  # of 0, 10 ... 50
    assert scores["median_error_visible"] == (25 + 0) / 2  # of 0, 10, 40, 50
    # Point 0 returns in frame 4, never to be found: 0 of 4. Point 1 in frame 2: 4 of 4.
    assert scores["redetection_1"] == 1 / 2 and math.isnan(scores["redetection_4"])


def official(item, answer):
    """The formulas of pips2 and Track-On, from their description."""
    height, width = item.video.shape[-2:]
    scale = torch.tensor([width / 256.0, height / 256.0])
    distance = torch.norm(answer.tracks / scale - item.tracks / scale, dim=-1)
    result = {}
    for name, mask in (("avg", item.located), ("visible", item.visible)):
        shares = [masked_mean(distance[1:] < threshold, mask[1:]) for threshold in THRESHOLDS]
        result |= {f"pts_within_{t}_{name}": s for t, s in zip(THRESHOLDS, shares, strict=True)}
        result[f"delta_{name}"] = sum(shares) / 5
    for name, mask, limit in (("16", item.located, 16), ("50", item.visible, 50)):
        alive = torch.cumprod(1 - (distance > limit).float() * mask.float(), dim=0)
        result[f"survival_{name}"] = alive.mean().item()
    for name, mask in (("median_error", item.located), ("median_error_visible", item.visible)):
        medians = [np.median(distance[:, n][mask[:, n]].numpy()) for n in range(mask.shape[1])]
        result[name] = torch.tensor(np.array(medians)).mean().item()
    return result | redetection_jaccard(distance.numpy(), answer.visible.numpy(), item.visible.numpy())


@pytest.mark.parametrize("seed", range(10))
def test_random_answers_score_as_with_the_official_formulas(data_root, seed):
    item, answer = random_clip(seed)
    item = type(item)(**{**vars(item), "visible": item.visible & item.located})
    answer.tracks[5, 3:5] += 30.0
    scores, expected = opened("pointodyssey", data_root).score(item, answer), official(item, answer)
    assert scores.keys() == expected.keys()
    np.testing.assert_allclose(list(scores.values()), [expected[key] for key in scores], rtol=2e-7, atol=2e-7)


def test_a_long_film_is_held_once_at_the_size_asked_for(tmp_path):
    num_frames = 25
    root = write_film(tmp_path, still(num_frames, 400), size=(540, 960))
    benchmark = opened("pointodyssey", root, resolution=[96, 128])
    tracemalloc.start()
    item = benchmark.read(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert item.video.nbytes == num_frames * 96 * 128 * 3
    assert peak < item.video.nbytes + 6 * 540 * 960 * 3  # a few frames of the 25


def test_of_a_long_film_some_frames_are_drawn(tmp_path, data_root, monkeypatch):
    monkeypatch.setattr("retracker.benchmarks.films.DRAWN_FRAMES", 6)
    benchmark = opened("pointodyssey", data_root)
    item = clip(torch.rand(60, 3, 2) * 64, torch.ones(60, 3, dtype=torch.bool), size=64)
    path = benchmark.picture(item, benchmark.ask(stays, item), tmp_path / "film")
    assert path.name == "film.mp4" and count_frames(path) == 6


def test_what_is_wrong_is_told_in_one_sentence(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"has nothing of PointOdyssey.*; expected pointodyssey/test/\*/anno"
    ):
        opened("pointodyssey", tmp_path)
    root = write_film(tmp_path, still())
    for wrong in ("large", 0, [384], [384, 0]):
        with pytest.raises(ValueError, match="resolution: expected native, "):
            opened("pointodyssey", root, resolution=wrong)
    benchmark = opened("pointodyssey", root, resolution=64)
    assert benchmark.read(0).video.shape == (10, 3, 64, 64)
    (root / "test/ani/rgbs/rgb_00009.jpg").unlink()
    with pytest.raises(ValueError, match="anno.npz: labels of 10 frames, but .*rgbs has 9"):
        benchmark.read(0)
    (root / "test/ani/anno.npz").write_bytes(b"broken")
    with pytest.raises(ValueError, match="anno.npz") as caught:
        benchmark.read(0)
    assert "\n" not in str(caught.value)
