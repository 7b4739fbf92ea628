"""The baselines do what they claim, in raster pixels."""

import cv2
import numpy as np
import torch

from retracker.benchmarks.baselines import lucas_kanade, stay

SHIFT = torch.tensor([1.3, -0.7])  # px per frame


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
    video[5:8, :, 20:70, 30:70] = torch.randint(0, 255, (3, 3, 50, 40), dtype=torch.uint8)
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
