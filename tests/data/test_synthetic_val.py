"""The validation set holds what its groups promise: speeds, occlusions and returns are measured."""

import pytest
import torch

from retracker.data.synthetic.clip import draw_clip
from retracker.data.synthetic.settings import GROUPS
from retracker.data.synthetic.validation import (
    CLIPS,
    QUICK_CLIPS,
    SyntheticVal,
    synthetic_val,
    validation_seed,
    validation_settings,
)

SIZE = 256


@pytest.fixture(scope="module", params=list(GROUPS))
def group(request):
    """A group's name, and what happens to the points of its quick clips."""
    settings = validation_settings(request.param)
    clips = [draw_clip(validation_seed(request.param, index), settings) for index in range(QUICK_CLIPS)]
    return request.param, clips


def longest_run(mask):
    run = longest = torch.zeros(mask.shape[1], dtype=torch.long)
    for row in mask:
        run = (run + 1) * row
        longest = torch.maximum(longest, run)
    return longest


def test_no_point_moves_faster_than_its_group_allows(group):
    name, clips = group
    for clip in clips:
        tracks, visible = clip.tracks[0], clip.visible[0]
        step = (tracks[1:] - tracks[:-1]).norm(dim=-1)[visible[1:] & visible[:-1]] / SIZE
        assert step.max() <= GROUPS[name].speed + 1e-6
        assert step.quantile(0.95) > 0.2 * GROUPS[name].speed  # and nothing stands still


def test_occlusions_are_as_long_as_the_group_says(group):
    name, clips = group
    shortest, longest = GROUPS[name].occlusion
    for clip in clips:
        tracks, visible = clip.tracks[0], clip.visible[0]
        alive = torch.arange(len(tracks))[:, None] >= clip.queries.frame[0]
        inside = ((tracks >= 0) & (tracks < SIZE)).all(-1)
        hidden = longest_run(inside & ~visible & alive)
        assert hidden.max() <= longest
        if longest:
            assert (hidden >= shortest).float().mean() >= 0.25
        if name == "hard":
            left = (~inside & alive).cummax(0).values
            assert (left & visible).any(0).float().mean() >= 0.15


def test_queries_are_born_at_various_frames(group):
    for clip in group[1]:
        assert clip.queries.frame.unique().numel() >= 12
        assert clip.tracks.shape == (1, 48, 64, 2)


def test_groups_and_their_quick_subset():
    assert len(SyntheticVal(["easy", "medium", "hard"], quick=False)) == 3 * CLIPS
    quick, full = synthetic_val("hard", quick=True), synthetic_val("hard", quick=False)
    assert (len(quick), len(full)) == (QUICK_CLIPS, CLIPS)
    assert quick.clips == full.clips[:QUICK_CLIPS]
    with pytest.raises(ValueError, match="synthetic_val has the groups"):
        synthetic_val("impossible", quick=True)
    with pytest.raises(IndexError):
        quick[QUICK_CLIPS]


def test_a_clip_is_complete():
    clip = synthetic_val("easy", quick=True)[0]
    assert clip.video.shape == (48, 3, SIZE, SIZE) and clip.name == "synthetic_val/easy-0"
    assert clip.tracks.isfinite().all() and clip.labelled.all() and clip.located.all()
