"""CoTracker behind our call, around a stand-in for it: coordinates, windows, who is asked for with whom."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from retracker.benchmarks.peers.cotracker import CoTrackerSettings, cotracker, load_predictor, support

CONFIGS = Path(__file__).parents[2] / "configs"
SETTINGS = CoTrackerSettings(
    single_point=True, global_grid=5, local_grid=8, local_extent=50, iterations=6, threshold=0.6
)
# A "tracker" that says of every query where the light is (in indices of the pixels it sees), how bright it
# is, and moves all of it by ``bias`` for each point it is asked for together with.
HUBCONF = """
import urllib.error
import torch

class Light(torch.nn.Module):
    window_len = 8

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(2))
        self.state = None

    def init_video_online_processing(self):
        self.state, self.start = [], 0

    def forward(self, video, queries, iters, is_online=False):
        assert iters == 6 and video.shape[0] == queries.shape[0] == 1 and video.shape[-2:] == (48, 64)
        if is_online:  # windows of eight frames, four apart; a window may be cut short by the end only
            assert video.shape[1] <= self.window_len and len(self.state) <= self.start + self.window_len // 2
            self.state = self.state[: self.start] + list(video[0])
            self.start += self.window_len // 2
            video = torch.stack(self.state)[None]
        light = video[0].mean(1)
        y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
        total = light.sum((1, 2)).clamp(min=1)
        centre = torch.stack([(light * x).sum((1, 2)) / total, (light * y).sum((1, 2)) / total], -1)
        count = queries.shape[1]
        coords = centre[None, :, None].expand(1, -1, count, 2) + self.bias * count
        seen = (light.amax((1, 2)) / 255)[None, :, None].expand(1, -1, count)
        return coords, seen, torch.full_like(seen, 0.9), None

class Predictor(torch.nn.Module):
    interp_shape = (48, 64)

    def __init__(self, pretrained):
        super().__init__()
        self.model = Light()
        if pretrained:
            raise urllib.error.URLError("no network")

class OnlinePredictor(Predictor):
    step = 4

def cotracker3_offline(*, pretrained=True, **kwargs):
    return Predictor(pretrained)

def cotracker3_online(*, pretrained=True, **kwargs):
    return OnlinePredictor(pretrained)
"""


@pytest.fixture
def repository(tmp_path):
    """A folder as a clone of co-tracker's would be, and weights beside it."""
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    torch.save({"bias": torch.zeros(2)}, tmp_path / "weights.pth")
    return tmp_path


def loaded(repository, name, **changes):
    """The tracker of a yaml of configs/tracker, from a local copy."""
    tree = OmegaConf.create({"device": "cpu"})
    tree.tracker = OmegaConf.load(CONFIGS / "tracker" / f"{name}.yaml")
    tree.tracker.method.update(
        source="local", repository=str(repository), checkpoint=str(repository / "weights.pth")
    )
    tree.tracker.method.settings.update(changes)
    return instantiate(tree.tracker).method


def light(num_frames, dark=()):
    """A video of a spot that moves, and its centre (x, y) in raster px."""
    frame = torch.arange(num_frames)[:, None]
    centres = torch.tensor([40.0, 30.0]) + frame * torch.tensor([1.25, 0.5])
    y, x = torch.meshgrid(torch.arange(90) + 0.5, torch.arange(120) + 0.5, indexing="ij")
    away = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    video = (255 * torch.exp(-away / 60)).round()
    video[list(dark)] = 0
    return video.byte()[:, None].expand(-1, 3, -1, -1).contiguous(), centres


@pytest.mark.parametrize("name", ["cotracker3_offline", "cotracker3_online"])
@pytest.mark.parametrize("num_frames", [1, 3, 4, 8, 9, 12, 21])
def test_positions_are_raster_pixels_of_the_video_in_every_frame(repository, name, num_frames):
    video, centres = light(num_frames)
    answer = loaded(repository, name)(video, torch.tensor([[0.0, 40.0, 30.0], [0.0, 5.0, 8.0]]))
    assert answer.tracks.shape == (num_frames, 2, 2) and answer.tracks.dtype == torch.float32
    # Half a pixel off, or scaled by 64/120 in place of 63/119, would be 0.3 px or more.
    torch.testing.assert_close(answer.tracks, centres[:, None].expand(-1, 2, -1), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["cotracker3_offline", "cotracker3_online"])
def test_a_point_is_seen_where_visibility_times_confidence_says_so(repository, name):
    video, _ = light(10, dark=(3, 4))
    answer = loaded(repository, name)(video, torch.tensor([[0.0, 40.0, 30.0]]))
    assert answer.visible[:, 0].tolist() == [t not in (3, 4) for t in range(10)]
    assert 0.8 < answer.confidence[0, 0] <= 0.9
    assert not loaded(repository, name, threshold=0.95)(
        video, torch.tensor([[0.0, 40.0, 30.0]])
    ).visible.any()


def test_a_single_point_is_asked_for_without_the_others(repository):
    torch.save({"model": {"bias": torch.ones(2)}}, repository / "weights.pth")  # also a file with more in it
    video, centres = light(6)
    queries = torch.tensor([[0.0, 40.0, 30.0], [2.0, 5.0, 8.0], [0.0, 9.0, 60.0]])
    scale = torch.tensor([119 / 63, 89 / 47])  # px of the video in one of the model's
    alone = loaded(repository, "cotracker3_offline")
    expected = centres[:, None] + (1 + 64 + 25) * scale
    torch.testing.assert_close(alone(video, queries).tracks, expected.expand(-1, 3, -1), atol=0.05, rtol=0)
    assert torch.equal(alone(video, queries).tracks[:, 1:2], alone(video, queries[1:2]).tracks)
    together = loaded(repository, "cotracker3_offline", single_point=False)
    expected = centres[:, None] + (3 + 25) * scale
    torch.testing.assert_close(together(video, queries).tracks, expected.expand(-1, 3, -1), atol=0.05, rtol=0)


def test_one_video_leaves_nothing_behind_for_the_next(repository):
    tracker = loaded(repository, "cotracker3_online")
    query = torch.tensor([[0.0, 40.0, 30.0]])
    first = tracker(light(13)[0], query)
    tracker(light(7)[0], query)
    assert torch.equal(tracker(light(13)[0], query).tracks, first.tracks)


def test_nobody_can_be_asked_for(repository):
    video, _ = light(5)
    for name in ("cotracker3_offline", "cotracker3_online"):
        assert loaded(repository, name)(video, torch.zeros(0, 3)).tracks.shape == (5, 0, 2)


def test_support_points_are_those_of_its_own_evaluation():
    query = torch.tensor([[3.0, 100.0, 60.0]])
    points = support(query, (384, 512), SETTINGS)
    assert points.shape == (64 + 25, 3) and not points[:, 0].any()  # all of them start in frame 0
    margin = 50 / 64
    local = points[:64, 1:].unflatten(0, (8, 8))
    np.testing.assert_allclose(local[0, :, 0], np.linspace(75 + margin, 125 - margin, 8), rtol=1e-5)
    np.testing.assert_allclose(local[:, 0, 1], np.linspace(35 + margin, 85 - margin, 8), rtol=1e-5)
    everywhere = points[64:, 1:].unflatten(0, (5, 5))
    np.testing.assert_allclose(everywhere[0, :, 0], [8, 132, 256, 380, 504], rtol=1e-5)
    np.testing.assert_allclose(everywhere[:, 0, 1], [8, 100, 192, 284, 376], rtol=1e-5)
    assert (
        len(support(query, (384, 512), CoTrackerSettings(**vars(SETTINGS) | {"single_point": False}))) == 25
    )


def test_what_cannot_be_loaded_is_said_in_one_sentence(repository, tmp_path, monkeypatch):
    def load(**changes):
        options = {"model": "cotracker3_offline", "repository": str(repository), "source": "local"}
        return load_predictor(**{**options, "checkpoint": str(repository / "weights.pth"), **changes})

    assert load().interp_shape == (48, 64)
    with pytest.raises(OSError, match=r"cannot load cotracker3_offline from local .*no network"):
        load(checkpoint=None)
    with pytest.raises(OSError, match="cannot load cotracker9 from local"):
        load(model="cotracker9")
    with pytest.raises(OSError, match=r"cannot load .* from local .*elsewhere"):
        load(repository=str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*nothing\.pth"):
        load(checkpoint=str(repository / "nothing.pth"))
    torn = repository / "torn.pth"
    torn.write_bytes((repository / "weights.pth").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"torn\.pth: expected weights"):
        load(checkpoint=str(torn))
    for other in ({"speed": torch.zeros(2)}, torch.zeros(2), Path("not data, but a call")):
        torch.save(other, torn)
        with pytest.raises(ValueError, match=r"torn\.pth: its weights are not those") as caught:
            load(checkpoint=str(torn))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="expected source to be github or local, got 'web'"):
        load(source="web")

    def unreachable(*_, **__):
        raise RuntimeError("It looks like there is no internet connection\nand the repo is not in the cache")

    monkeypatch.setattr(torch.hub, "load", unreachable)
    with pytest.raises(OSError, match=r"cannot load cotracker3_online from github a/b: .*connection and"):
        cotracker("cotracker3_online", "a/b", "github", None, SETTINGS, "cpu")
