"""What several testimonies come to, computed by hand."""

import pytest
import torch

from retracker.labelling.agreement import Agreement, agree, enclosed
from retracker.labelling.testimony import Testimony as Heard

RULE = Agreement(agree_px=1.0, quorum=2, least_frames=2)


def said(x, verified=None, hidden=None):
    """One point at (x[t], 0) in each frame t."""
    tracks = torch.tensor([[[float(value), 0.0]] for value in x])
    everywhere = torch.ones(len(x), 1, dtype=torch.bool)

    def mask(frames, default):
        return default if frames is None else torch.tensor([[t in frames] for t in range(len(x))])

    verified = mask(verified, everywhere)
    return Heard(tracks=tracks, seen=everywhere, verified=verified, hidden=mask(hidden, ~everywhere))


def test_a_place_is_the_mean_of_those_near_the_median():
    labels, _ = agree([said([0, 10]), said([0, 11]), said([0, 50])], RULE, 1.0)
    assert labels.tracks[:, 0, 0].tolist() == [0.0, 10.5]  # 50 is far from the median, 11
    assert labels.located.all() and labels.visible.all() and labels.labelled.all()


def test_two_that_are_too_far_apart_agree_on_nothing():
    """The median of two lies between them: 1 px from each at a distance of 2."""
    near, _ = agree([said([0, 10]), said([0, 12])], RULE, 1.0)
    far, fates = agree([said([0, 0, 10]), said([0, 0, 12.2])], RULE, 1.0)
    assert near.located[:, 0].tolist() == [True, True]
    assert far.located[:, 0].tolist() == [True, True, False] and fates["disputed"] == 1


def test_the_distance_counts_at_256_scale():
    pair = [said([0, 0, 10]), said([0, 0, 14])]
    assert agree(pair, RULE, 1.0)[0].located[2, 0].item() is False
    assert agree(pair, RULE, 2.0)[0].located[2, 0].item() is True


def test_silence_is_no_vote_and_a_quorum_must_be_met():
    silent = said([0, 10, 10], verified=[0, 1])
    labels, fates = agree([said([0, 10, 10]), silent], RULE, 1.0)
    assert labels.located[:, 0].tolist() == [True, True, False] and fates["too few"] == 1
    alone = Agreement(agree_px=1.0, quorum=1, least_frames=2)
    assert agree([said([0, 10, 10]), silent], alone, 1.0)[0].located.all()


def test_with_a_quorum_of_one_a_verified_one_elsewhere_still_forbids():
    alone = Agreement(agree_px=1.0, quorum=1, least_frames=2)
    labels, _ = agree([said([0, 5, 10]), said([0, 5, 20])], alone, 1.0)
    assert labels.located[:, 0].tolist() == [True, True, False]


def test_a_point_with_few_places_is_left_out():
    rule = Agreement(agree_px=1.0, quorum=1, least_frames=3)
    labels, fates = agree([said([0, 1, 2, 3], verified=[0, 1])], rule, 1.0)
    assert not labels.located.any() and not labels.tracks.any()
    assert fates == {"kept": 0, "unseen": 0, "no way back": 2, "too few": 0, "disputed": 0, "short": 2}


def test_hidden_is_labelled_only_between_places_and_where_enough_agree():
    both = [said([0] * 5, verified=[0, 1, 3], hidden=[2, 4]) for _ in range(2)]
    labels, _ = agree(both, RULE, 1.0)
    assert labels.labelled[:, 0].tolist() == [True, True, True, True, False]
    assert labels.visible[:, 0].tolist() == [True, True, False, True, False]
    one = said([0] * 5, verified=[0, 1, 3])
    assert not agree([both[0], one], RULE, 1.0)[0].labelled[2].any()
    sees = said([0] * 5)
    assert not agree([*both, sees], RULE, 1.0)[0].labelled[2].any()


def test_enclosed_is_between_the_first_and_the_last():
    located = torch.tensor([[0, 1, 0, 0, 1, 0]]).T.bool()
    assert enclosed(located)[:, 0].tolist() == [False, False, True, True, False, False]


def test_fates_account_for_every_place():
    _, fates = agree([said([0, 1, 9]), said([0, 1, 4], verified=[0, 2])], RULE, 1.0)
    assert sum(fates.values()) == 3


@pytest.mark.parametrize("wrong", [{"agree_px": 0.0}, {"quorum": 0}, {"least_frames": 1}])
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="a quorum of at least 1"):
        Agreement(**({"agree_px": 1.0, "quorum": 2, "least_frames": 2} | wrong))
