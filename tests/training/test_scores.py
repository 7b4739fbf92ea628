from dataclasses import replace

import pytest
import torch

from retracker.data.datamodule import collate, pad_points
from retracker.data.datasets.synthetic import Synthetic
from retracker.training.scores import ScoreSheet, pck_scores, tapvid_scores
from retracker.types import Prediction, VideoSample


@pytest.fixture(scope="module")
def clip():
    return Synthetic(1, "medium", 6, 5, 64, 0)[0]


def prediction_of(batch: VideoSample) -> Prediction:
    """Every point a little off, every third one said to be hidden: right or wrong, by the truth."""
    visible = torch.ones_like(batch.visible)
    visible[:, :, ::3] = False
    return Prediction(tracks=batch.tracks + 0.3, visible=visible, confidence=visible.float(), frames=())


def scores_of(batch):
    prediction = prediction_of(batch)
    return pck_scores(prediction, batch) | tapvid_scores(prediction, batch)


def test_padding_does_not_change_the_scores_of_a_clip(clip):
    alone, padded = collate([clip]), collate([pad_points(clip, 9)])
    torch.testing.assert_close(scores_of(padded), scores_of(alone))


def test_a_point_of_which_something_is_not_known_is_left_out(clip):
    fewer = clip.map(lambda x: x[..., :4, :] if x.shape[-1] == 2 else x[..., :4])
    fewer = replace(fewer, video=clip.video)
    labelled = clip.labelled.clone()
    labelled[-1, 4] = False
    unsure = replace(clip, labelled=labelled)
    torch.testing.assert_close(tapvid(unsure), tapvid(fewer))
    assert all(value.isfinite().all() for value in tapvid(fewer).values())
    before = replace(
        clip, labelled=torch.arange(6)[:, None] >= clip.queries.frame
    )  # not known, nor asked for
    torch.testing.assert_close(tapvid(before), tapvid(clip))


def tapvid(clip):
    batch = collate([clip])
    return tapvid_scores(prediction_of(batch), batch)


def test_a_clip_of_which_nothing_is_known_has_no_scores(clip):
    nothing = replace(clip, labelled=torch.zeros_like(clip.labelled), located=torch.zeros_like(clip.located))
    assert all(value.isnan().all() for value in scores_of(collate([nothing])).values())
    both = scores_of(collate([clip, nothing]))
    torch.testing.assert_close({k: v[:1] for k, v in both.items()}, scores_of(collate([clip])))


def test_a_rank_without_clips_takes_part_in_the_mean():
    sheets = [ScoreSheet(("AJ", "EPE")) for _ in range(2)]
    sheets[0].add({"AJ": torch.tensor([0.2, 0.6]), "EPE": torch.tensor([float("nan"), 3.0])})
    shares = []
    for sheet in sheets:
        sheet.means(lambda x: shares.append(x) or x, torch.device("cpu"))
    means = sheets[1].means(lambda _: sum(shares), torch.device("cpu"))
    assert {name: pytest.approx(float(value)) for name, value in means.items()} == {
        "AJ": 0.4,
        "EPE": 3.0,
        "EPE/skipped": 1.0,
    }
