import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from films_made import films, masked_mean, opened, oracle, random_clip
from layouts import egopoints
from layouts.tiny import two_points, write_pictures
from toy import clip, stays

from retracker.benchmarks.egopoints import EgoClip
from retracker.benchmarks.protocol import Tracked

THRESHOLDS, STAR = (1, 2, 4, 8, 16), (8, 16, 24)


def films_from_the_start():
    """With the points that are in view in frame 0: there they are asked for."""
    kept = [truth.visible[0] for truth in films()]
    return [
        replace(truth, tracks=truth.tracks[:, seen], visible=truth.visible[:, seen])
        for truth, seen in zip(films(), kept, strict=True)
    ]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    egopoints.write(root / "ego_points", films_from_the_start())
    return root


def write_film(root, num_frames=5, **changed):
    """One point that moves, and one that stands still; all is annotated unless masks (T,) are given."""
    folder = root / "P01_01_start_1_end_5"
    write_pictures(folder / "rgbs", [f"frame_{t:010d}.jpg" for t in range(1, num_frames + 1)], 48, 64)
    masks = {"valids": 1, "visibs": 1, "vis_valids": 1, "out_of_view": 0, "occluded": 0} | changed
    full = {
        name: np.broadcast_to(np.reshape(mask, (-1, 1)), (num_frames, 2)).astype(float)
        for name, mask in masks.items()
    }
    np.savez(folder / "annot.npz", trajs_2d=two_points(num_frames), **full)
    return root


def test_all_points_of_all_films_are_read_as_they_were_annotated(data_root):
    benchmark = opened("egopoints", data_root)
    assert [benchmark.item_name(index) for index in range(len(benchmark))] == [
        "P01_00_start_15883_end_15890",
        "P01_01_start_15883_end_15890",
    ]
    item, truth = benchmark.read(1), films_from_the_start()[1]
    assert item.video.shape == (16, 3, 384, 512) and benchmark.title == "EgoPoints, 384 x 512"
    assert torch.equal(item.located, truth.visible) and torch.equal(item.visible, truth.visible)
    scale = torch.tensor([512 / 96, 384 / 64])
    assert torch.equal(item.tracks[item.located], (truth.tracks * scale)[item.located])
    assert item.out_of_view.any() and item.occluded.any() and item.labelled.all()
    assert item.queries.frame.eq(0).all()


def test_the_truth_scores_100(data_root):
    benchmark = opened("egopoints", data_root)
    for index in range(2):
        item = benchmark.read(index)
        scores = benchmark.score(item, benchmark.ask(oracle(item), item))
        assert scores.pop("median_error") == 0.0
        assert set(scores.values()) == {1.0}
    metrics = {column.metric for column in (*benchmark.columns, *benchmark.headline)}
    metrics |= {metric for curve in benchmark.curves for metric in curve.metrics} | {benchmark.ranked_by}
    assert metrics <= {*scores, "median_error"}


def ego_clip(tracks, **masks):
    """A clip of 512 x 512, where a unit is 2 px across, from masks of one string for each point."""
    num_frames, num_points = len(tracks), len(tracks[0])
    given = {
        "visible": None,
        "labelled": None,
        "located": None,
        "out_of_view": None,
        "occluded": None,
    } | masks
    default = {"out_of_view": ".", "occluded": "."}
    labels = {
        name: torch.tensor(
            [
                [letter == "x" for letter in track]
                for track in mask or [default.get(name, "x") * num_frames] * num_points
            ]
        ).T
        for name, mask in given.items()
    }
    plain = clip(tracks, labels["visible"], size=512)
    return EgoClip(**{**vars(plain), **labels})


def test_staying_where_one_is_asked_for_scores_what_one_computes_by_hand(data_root):
    # A point moves 8 px a frame, is out of view in frame 2 and back in 3; another stands still, once hidden.
    tracks = [[[100.0 + 8 * t, 100.0], [200.0, 200.0]] for t in range(5)]
    item = ego_clip(
        tracks,
        located=["xx.xx", "xx.xx"],
        out_of_view=["..x..", "....."],
        occluded=[".....", "..x.."],
        visible=["xx.xx", "xx.xx"],
        labelled=["xxxxx", "xx..x"],
    )
    benchmark = opened("egopoints", data_root)
    scores = benchmark.score(item, benchmark.ask(stays, item))
    # Errors of frames 1, 3, 4 in units of 2 px: 4, 12, 16 and three times 0.
    assert [scores[f"pts_within_{t}_avg"] for t in THRESHOLDS] == [3 / 6, 3 / 6, 3 / 6, 4 / 6, 5 / 6]
    assert scores["delta_avg"] == pytest.approx(3 / 5, abs=1e-15)
    assert scores["delta_star"] == pytest.approx((4 / 6 + 5 / 6 + 6 / 6) / 3, abs=1e-15)
    assert scores["in_view_accuracy"] == 1.0 and scores["out_of_view_accuracy"] == 0.0
    assert scores["delta_reidentified"] == 0.0  # it never took the point to be out of view
    assert scores["occlusion_accuracy"] == 7 / 8  # wrong in frame 2 of the first point
    assert scores["median_error"] == (8 + 0) / 2  # of 0, 4, 12, 16


def test_a_point_is_found_again_only_by_who_knew_that_it_was_gone(data_root):
    # The only point is out of view in frames 1 and 2. 384 x 512: 512 px across are 512, 512 px down are 384.
    tracks = [[[100.0, 100.0]]] * 5
    item = ego_clip(tracks, located=["x..xx"], out_of_view=[".xx.."])
    benchmark = opened("egopoints", data_root)

    def scored(first, second):
        """With its position in frames 1 and 2."""
        answer = benchmark.ask(oracle(item), item)
        answer.tracks[1, 0, 0], answer.tracks[2, 0, 0] = first, second
        answer.tracks[3, 0] += torch.tensor([15.0, 0.0])  # within 16
        answer.tracks[4, 0] += torch.tensor([0.0, 20.0])  # 15 px
        return benchmark.score(item, answer)["delta_reidentified"]

    assert scored(-1.0, 600.0) == pytest.approx((0 + 1 + 1) / 3, abs=1e-15)
    assert scored(-1.0, 100.0) == scored(-1.0, 600.0)  # knowing it once is enough
    assert scored(100.0, 512.0) == 0.0  # the border is in view


def test_a_film_in_which_nothing_leaves_the_view_has_no_metrics_of_that(data_root):
    item = ego_clip([[[100.0, 100.0]]] * 3)
    benchmark = opened("egopoints", data_root)
    scores = benchmark.score(item, benchmark.ask(stays, item))
    assert {name for name, value in scores.items() if math.isnan(value)} == {
        "delta_reidentified",
        "out_of_view_accuracy",
    }


def test_where_only_frame_0_is_annotated_no_delta_is_defined(data_root):
    item = ego_clip([[[100.0, 100.0]]] * 3, located=["x.."])
    benchmark = opened("egopoints", data_root)
    scores = benchmark.score(item, benchmark.ask(stays, item))
    assert math.isnan(scores["delta_avg"]) and math.isnan(scores["delta_star"])
    assert scores["median_error"] == 0.0


def official(item, answer):
    """The formulas of the authors' evaluation, from their description; shares, in single precision."""
    height, width = item.video.shape[-2:]
    scale = torch.tensor([width / 256.0, height / 256.0])
    distance = torch.norm(answer.tracks / scale - item.tracks / scale, dim=-1)
    valid, gone, x, y = item.located.float(), item.out_of_view.float(), *answer.tracks.unbind(-1)
    result = {}
    for thresholds in (THRESHOLDS, STAR):
        shares = [masked_mean(distance[1:] < threshold, valid[1:]) for threshold in thresholds]
        if thresholds == THRESHOLDS:
            result |= {f"pts_within_{t}_avg": s for t, s in zip(THRESHOLDS, shares, strict=True)}
        result["delta_avg" if thresholds == THRESHOLDS else "delta_star"] = sum(shares) / len(shares)
    inside = ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).float()
    present = (valid + item.occluded.float())[1:]
    result["in_view_accuracy"] = ((present * inside[1:]).sum() / present.sum()).item()
    rightly_gone = gone * (1 - inside)
    result["out_of_view_accuracy"] = (rightly_gone[1:].sum() / gone[1:].sum()).item()
    result["delta_reidentified"] = found_again(item, answer, valid, gone, rightly_gone)
    agreed = (answer.visible == item.visible).float()
    result["occlusion_accuracy"] = masked_mean(agreed, item.labelled)
    medians = [np.median(distance[:, n][item.located[:, n]].numpy()) for n in range(valid.shape[1])]
    result["median_error"] = torch.tensor(np.array(medians)).mean().item()
    return result


def found_again(item, answer, valid, gone, rightly_gone):
    """Point by point; at 384 x 512."""
    height, width = item.video.shape[-2:]
    resized = torch.tensor([512 / width, 384 / height])
    distance = ((answer.tracks - item.tracks) * resized).norm(dim=-1)
    wanted, hits = 0.0, dict.fromkeys(STAR, 0.0)
    for n in range(valid.shape[1]):
        truly = torch.nonzero(gone[:, n])
        said = 1 + torch.nonzero(rightly_gone[1:, n])
        if len(truly):
            after = int(truly.max()) + 1
            wanted += float(valid[max(after, 1) :, n].sum())
        if len(said):
            after = int(said.max())
            for threshold in STAR:
                hits[threshold] += float((valid[after:, n] * (distance[after:, n] < threshold)).sum())
    return sum(hits[threshold] / wanted for threshold in STAR) / len(STAR)


@pytest.mark.parametrize("size", [(384, 512), (60, 90)])
@pytest.mark.parametrize("seed", range(8))
def test_random_answers_score_as_with_the_official_formulas(data_root, seed, size):
    item, answer = random_clip(
        seed, kind=EgoClip, height=size[0], width=size[1], out_of_view=0.06, occluded=0.2, num_frames=60
    )
    away = torch.rand(answer.visible.shape, generator=torch.Generator().manual_seed(seed)) < 0.2
    answer = Tracked(
        tracks=torch.where(away[..., None], answer.tracks - 400.0, answer.tracks),
        visible=answer.visible,
        confidence=answer.confidence,
    )
    scores, expected = opened("egopoints", data_root).score(item, answer), official(item, answer)
    assert scores.keys() == expected.keys()
    np.testing.assert_allclose(list(scores.values()), [expected[key] for key in scores], rtol=3e-7, atol=3e-7)


def test_a_point_out_of_view_lies_beside_the_frame_unless_its_position_is_known(tmp_path):
    root = write_film(tmp_path, valids=[1, 1, 0, 1, 0], out_of_view=[0, 0, 1, 1, 0])
    item = opened("egopoints", root, resolution="native").read(0)
    assert item.tracks[2].tolist() == [[-64.0, -48.0]] * 2
    assert item.tracks[3].tolist() == [[2.25, 2.25], [5.25, 2.25]]


def test_what_is_wrong_is_told_in_one_sentence(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"has nothing of EgoPoints.*; expected ego_points/\*/annot.npz"
    ):
        opened("egopoints", tmp_path)
    benchmark = opened("egopoints", write_film(tmp_path))
    (tmp_path / "P01_01_start_1_end_5/rgbs/frame_0000000003.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match="frame_0000000003.jpg: cannot be read as an image") as caught:
        benchmark.read(0)
    assert "\n" not in str(caught.value)
