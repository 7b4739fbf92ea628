"""The baselines do what they claim, in raster pixels."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from retracker.benchmarks.baselines import stay
from retracker.benchmarks.dense_flow import dis_flow

CONFIGS = Path(__file__).parents[2] / "configs"
SHIFT = torch.tensor([1.3, -0.7])  # px per frame


def shipped(name):
    """The tracker of a yaml of configs/tracker, as it is evaluated."""
    return instantiate(OmegaConf.load(CONFIGS / "tracker" / f"{name}.yaml")).method


lucas_kanade = shipped("lucas_kanade")
flow = shipped("dis_flow")


def scene(num_frames, height=96, width=112):
    """A smooth random texture that moves by SHIFT per frame, evaluated at every pixel's centre."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (256, 256)).astype(np.float32), (0, 0), 2.0)
    texture = (texture - texture.min()) / (texture.max() - texture.min()) * 255
    frames = []
    for t in range(num_frames):
        # The value at raster (x, y) of frame t is that of the texture at (x, y) - t * SHIFT + 60.
        dx, dy = (60 - t * SHIFT).tolist()
        x, y = np.meshgrid(np.arange(width) + dx, np.arange(height) + dy)
        frames.append(cv2.remap(texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC))
    video = torch.from_numpy(np.stack(frames)).round().clamp(0, 255).byte()
    return video[:, None].expand(-1, 3, -1, -1).contiguous()


def test_lucas_kanade_follows_a_known_translation_in_raster_coordinates():
    video = scene(12)
    queries = torch.tensor([[0, 30.5, 40.5], [0, 55.25, 60.0], [3, 61.0, 33.75]])
    result = lucas_kanade(video, queries)
    elapsed = (torch.arange(12)[:, None] - queries[:, 0]).clamp(min=0)[..., None]
    assert (result.tracks - (queries[:, 1:] + elapsed * SHIFT)).norm(dim=-1).max() < 0.1
    assert torch.equal(result.visible, torch.arange(12)[:, None] >= queries[:, 0])


def test_lucas_kanade_hides_a_covered_point_and_finds_it_again():
    video = scene(12)
    cover = torch.randint(0, 255, (3, 3, 50, 40), generator=torch.Generator().manual_seed(0))
    video[5:8, :, 20:70, 30:70] = cover.byte()
    result = lucas_kanade(video, torch.tensor([[0.0, 40.0, 50.0]]))
    assert result.visible[:5, 0].all() and not result.visible[5:8, 0].any() and result.visible[8:, 0].all()
    expected = torch.tensor([40.0, 50.0]) + torch.arange(12)[:, None] * SHIFT
    assert (result.tracks[8:, 0] - expected[8:]).norm(dim=-1).max() < 0.3


def test_lucas_kanade_treats_each_point_alone():
    video = scene(6)
    queries = torch.tensor([[0, 30.5, 40.5], [2, 55.25, 60.0]])
    together = lucas_kanade(video, queries)
    alone = lucas_kanade(video, queries[1:])
    torch.testing.assert_close(together.tracks[:, 1:], alone.tracks)


def test_a_point_that_leaves_the_frame_is_hidden():
    video = scene(40)
    result = lucas_kanade(video, torch.tensor([[0.0, 100.0, 60.0]]))
    outside = 100 + torch.arange(40) * SHIFT[0] >= 112
    assert not result.visible[outside, 0].any()
    assert result.tracks.isfinite().all()


def test_staying_is_the_query_forever_and_visible_from_its_birth():
    result = stay(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([[0, 1.5, 2.5], [2, 3.0, 4.0]]))
    assert torch.equal(result.tracks[3], torch.tensor([[1.5, 2.5], [3.0, 4.0]]))
    assert result.visible.tolist() == [[True, False], [True, False], [True, True], [True, True]]


def noise(num_frames, height=96, width=112):
    return torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (num_frames, 3, height, width), np.uint8)
    )


def test_dense_flow_follows_a_known_translation_in_raster_coordinates():
    video = scene(12)
    queries = torch.tensor([[0, 30.5, 40.5], [0, 55.25, 60.0], [3, 61.0, 33.75]])
    result = flow(video, queries)
    elapsed = (torch.arange(12)[:, None] - queries[:, 0]).clamp(min=0)[..., None]
    assert (result.tracks - (queries[:, 1:] + elapsed * SHIFT)).norm(dim=-1).max() < 0.5
    assert torch.equal(result.visible, torch.arange(12)[:, None] >= queries[:, 0])


def test_dense_flow_is_read_at_the_centre_of_pixels():
    """A zoom about a corner: whoever reads the flow half a pixel off is off by that half times the zoom."""
    texture, zoom = scene(1, 160, 160)[0, 0].numpy(), 1.04
    size, steps = 160, 9
    frames = []
    for t in range(steps):
        # The value at raster x of frame t is that of the texture at x / zoom ** t.
        at = (np.arange(size) + 0.5) / zoom**t - 0.5
        x, y = np.meshgrid(at, at)
        frames.append(cv2.remap(texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC))
    video = torch.from_numpy(np.stack(frames))[:, None].expand(-1, 3, -1, -1).contiguous()
    xy = torch.cartesian_prod(torch.arange(20.0, 100, 10), torch.arange(20.0, 100, 10))
    result = flow(video, torch.cat([torch.zeros(len(xy), 1), xy], dim=1))
    error = result.tracks[-1] - xy * zoom ** (steps - 1)
    # Half a pixel would make 0.5 * (zoom ** 8 - 1) = 0.18 px of it.
    assert error.median(dim=0).values.abs().max() < 0.05


def test_dense_flow_hides_a_point_for_good_once_it_is_lost():
    video = scene(12)
    video[5:8] = noise(3)
    result = flow(video, torch.tensor([[0.0, 40.0, 50.0], [9.0, 40.0, 50.0]]))
    assert result.visible[:5, 0].all() and not result.visible[6:, 0].any()
    assert result.visible[:, 1].tolist() == [False] * 9 + [True] * 3
    assert torch.equal(result.tracks[:10, 1], torch.tensor([40.0, 50.0]).expand(10, 2))


def test_dense_flow_hides_a_point_that_leaves_the_frame():
    result = flow(scene(40), torch.tensor([[0.0, 100.0, 60.0]]))
    outside = 100 + torch.arange(40) * SHIFT[0] >= 112.5  # a little late, as the flow is smooth at the border
    assert not result.visible[outside, 0].any() and result.tracks.isfinite().all()


def test_dense_flow_treats_each_point_alone():
    video = scene(6)
    queries = torch.tensor([[0, 30.5, 40.5], [2, 55.25, 60.0]])
    assert torch.equal(flow(video, queries).tracks[:, 1:], flow(video, queries[1:]).tracks)


def test_trackers_without_points_or_motion_have_an_answer():
    video = scene(1)
    for tracker in (stay, lucas_kanade, flow):
        assert tracker(video, torch.zeros(0, 3)).tracks.shape == (1, 0, 2)
        assert tracker(video, torch.tensor([[0.0, 3.0, 4.0]])).tracks.tolist() == [[[3.0, 4.0]]]


def test_dense_flow_says_what_it_cannot_do():
    query = torch.tensor([[0.0, 3.0, 4.0]])
    with pytest.raises(ValueError, match="no preset 'slow'; there are ultrafast, fast, medium"):
        dis_flow(scene(2), query, preset="slow", round_trip=1.0)
    with pytest.raises(ValueError, match="12 px or more, got .8, 112."):
        flow(scene(2, height=8), query)


@pytest.mark.parametrize("tracker", [lucas_kanade, flow])
def test_of_a_long_video_few_frames_are_held_in_grey(tracker):
    video, query = scene(60), torch.tensor([[0.0, 40.0, 50.0]])
    tracemalloc.start()
    tracker(video, query)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * video[0, 0].nbytes  # Lucas-Kanade looks back by 24 frames; in colour a frame is three
