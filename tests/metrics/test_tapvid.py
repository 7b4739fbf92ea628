import numpy as np
import pytest

from retracker.metrics.tapvid import THRESHOLDS, compute_tapvid_metrics

GOLDEN = {
    "first": {
        "occlusion_accuracy": 2 / 3,
        "pts_within": (1 / 6, 0.5, 5 / 6, 5 / 6, 5 / 6),
        "average_pts_within_thresh": 19 / 30,
        "jaccard": (1 / 12, 0.3, 0.625, 0.625, 0.625),
        "average_jaccard": (1 / 12 + 0.3 + 3 * 0.625) / 5,
    },
    "strided": {
        "occlusion_accuracy": 0.6,
        "pts_within": (1 / 6, 0.5, 5 / 6, 5 / 6, 5 / 6),
        "average_pts_within_thresh": 19 / 30,
        "jaccard": (1 / 13, 3 / 11, 5 / 9, 5 / 9, 5 / 9),
        "average_jaccard": (1 / 13 + 3 / 11 + 15 / 9) / 5,
    },
}


def golden_clip():
    time = np.arange(6.0)
    truth = np.stack(
        [np.stack([10.5 + 4 * time, 20.5 + 0 * time], -1), np.stack([100 + 0 * time, 50 + time], -1)]
    )
    moved = np.array([
        [(0, 0), (0.5, 0.5), (1, 0), (3, 0), (0, 0), (0, 3)],
        [(9, 9), (0, 0), (2, 0), (1.5, 0), (0, 17), (0, 0)],
    ])  # fmt: skip
    hidden = np.array([[0, 0, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1]], dtype=bool)
    said_hidden = np.array([[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0]], dtype=bool)
    queries = np.array([[0, 20.5, 10.5], [1, 51, 100]])
    return [x[None] for x in (queries, hidden, truth, said_hidden, truth + moved)]


def random_clips(rng, clips=3, points=5, frames=7):
    truth = rng.uniform(0, 256, (clips, points, frames, 2))
    queries = np.concatenate([rng.integers(0, frames, (clips, points, 1)), truth[:, :, 0]], -1)
    hidden, said_hidden = rng.random((2, clips, points, frames)) < 0.3
    return [queries, hidden, truth, said_hidden, truth + rng.normal(0, 4, truth.shape)]


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_the_golden_vector_is_met(mode):
    metrics = compute_tapvid_metrics(*golden_clip(), mode)
    expected = GOLDEN[mode]
    for name in ("occlusion_accuracy", "average_pts_within_thresh", "average_jaccard"):
        np.testing.assert_allclose(metrics[name], [expected[name]], rtol=0, atol=1e-12)
    for name in ("pts_within", "jaccard"):
        values = [metrics[f"{name}_{t}"][0] for t in THRESHOLDS]
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_a_batch_scores_as_its_clips_do_one_by_one(mode):
    arrays = random_clips(np.random.default_rng(0))
    together = compute_tapvid_metrics(*arrays, mode)
    for clip in range(3):
        alone = compute_tapvid_metrics(*[x[clip : clip + 1] for x in arrays], mode)
        for name, value in alone.items():
            np.testing.assert_array_equal(together[name][clip], value[0])


def test_trackwise_metrics_are_those_of_each_track_alone():
    arrays = random_clips(np.random.default_rng(1))
    by_track = compute_tapvid_metrics(*arrays, "strided", get_trackwise_metrics=True)
    alone = compute_tapvid_metrics(*[x[:, 2:3] for x in arrays], "strided")
    for name, value in alone.items():
        assert by_track[name].shape == (3, 5)
        np.testing.assert_array_equal(by_track[name][:, 2], value)


def test_a_clip_without_visible_points_is_nan_but_its_occlusion_accuracy_is_not():
    queries, hidden, truth, said_hidden, found = golden_clip()
    metrics = compute_tapvid_metrics(
        queries, np.ones_like(hidden), truth, ~said_hidden & False, found, "first"
    )
    assert np.isnan(metrics["average_pts_within_thresh"]).all()
    assert metrics["occlusion_accuracy"] == 0


def test_unknown_positions_of_hidden_points_do_not_matter():
    arrays = golden_clip()
    expected = compute_tapvid_metrics(*arrays, "first")
    arrays[2] = np.where(arrays[1][..., None], np.nan, arrays[2])
    for name, value in compute_tapvid_metrics(*arrays, "first").items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, lambda x: x[..., :2], "query_points: expected shape"),
        (0, lambda x: x + 5, "do not fit a video of 6 frames"),
        (1, lambda x: x[:, :1], "gt_occluded: expected shape"),
        (2, lambda x: x[0], "gt_tracks: expected shape"),
        (3, lambda x: x * 0.5, "pred_occluded: expected True or False"),
        (4, lambda x: x * np.nan, "pred_tracks: position of clip 0"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(which, change, message):
    arrays = golden_clip()
    arrays[which] = change(arrays[which])
    with pytest.raises(ValueError, match=message):
        compute_tapvid_metrics(*arrays, "first")


def test_an_unknown_query_mode_is_refused():
    with pytest.raises(ValueError, match="first, strided"):
        compute_tapvid_metrics(*golden_clip(), "last")
