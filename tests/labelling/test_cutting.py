"""Where films are cut into clips."""

import pytest
import torch

from retracker.labelling.cutting import Cutting, cut_film
from tests.labelling.toys import pan

LENGTH = 6


def clips(video, stride=LENGTH, borders=(), times=None):
    times = [None] * len(video) if times is None else times
    cutting = Cutting(num_frames=LENGTH, stride=stride)
    return list(cut_film(zip(times, video, strict=True), cutting, frozenset(borders)))


def starts(*args, **options):
    return [clip.first for clip in clips(*args, **options)]


def test_clips_follow_each_other_and_what_is_left_over_is_left_out():
    video = pan(15)
    found = clips(video)
    assert [clip.first for clip in found] == [0, 6] and {clip.worth for clip in found} == {""}
    assert torch.equal(torch.stack(found[1].frames), video[6:12])


def test_clips_overlap_or_leave_a_gap_only_if_asked_to():
    assert starts(pan(15), stride=3) == [0, 3, 6, 9]
    assert starts(pan(20), stride=9) == [0, 9]


@pytest.mark.parametrize("at", [4, 6, 9])
def test_no_clip_goes_over_a_change_of_shot(at):
    video = torch.cat([pan(at, seed=0), pan(14, seed=1).flip(1) // 2])
    first = [0] if at >= LENGTH else []
    assert starts(video) == [*first, at, at + LENGTH]


def test_a_flash_and_a_fast_pan_are_no_change_of_shot():
    video = pan(12, step=6)
    video[5:] = (video[5:].float() * 1.6).clamp(max=255).to(torch.uint8)
    assert starts(video) == [0, 6]


def test_what_comes_and_goes_before_the_camera_is_no_change_of_shot():
    video = pan(12)
    video[5:8, :, :, 58:] = 30
    assert starts(video) == [0, 6]


def test_no_clip_goes_over_a_border():
    assert starts(pan(20), borders=[8]) == [0, 8, 14]


def test_no_clip_goes_over_missing_frames_and_any_steady_rate_will_do():
    times = [0.4 * t for t in range(20)]
    assert starts(pan(20), times=times) == [0, 6, 12]
    late = [time + (5.0 if t >= 8 else 0.0) for t, time in enumerate(times)]
    assert starts(pan(20), times=late) == [0, 8, 14]
    uneven = [0.04 * t + 0.015 * (t % 3) for t in range(20)]
    assert starts(pan(20), times=uneven) == [0, 6, 12]


def test_black_and_still_clips_are_told():
    still = pan(1).expand(LENGTH, -1, -1, -1)
    assert [clip.worth for clip in clips(torch.zeros_like(still))] == ["blank"]
    assert [clip.worth for clip in clips(still)] == ["static"]
    walker = still.clone()
    walker[3:, :, 20:40, 30:45] = 255
    assert [clip.worth for clip in clips(walker)] == [""]


def test_lengths_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 2 frames"):
        Cutting(num_frames=1, stride=1)
