"""Co-tracker's predictors: its scripts run, and what they get is what our trackers say."""

import pytest
import torch

from retracker.checkpoint import load, save_safetensors
from retracker.inference import predictor
from retracker.inference.clip import track
from retracker.inference.online import OnlineTracker
from retracker.inference.predictor import CoTrackerOnlinePredictor, CoTrackerPredictor, grid_with_margin


def test_the_predictor_answers_like_co_tracker(model, sample, queries):
    video = sample.video[None].float()
    tracks, visible = CoTrackerPredictor(model)(video, queries=queries[None])
    expected = track(model, sample.video, queries)
    assert tracks.shape == (1, 6, 9, 2) and visible.dtype == torch.bool
    assert torch.equal(tracks[0], expected.tracks) and torch.equal(visible[0], expected.visible)


def test_the_predictors_grid_starts_in_its_frame_and_stays_in_the_mask(model, sample):
    predictor = CoTrackerPredictor(model)
    video = sample.video[None].float()
    tracks, visible = predictor(video, grid_size=4, grid_query_frame=2, backward_tracking=True)
    assert tracks.shape == (1, 6, 16, 2) and visible[0, 2].all()
    assert (tracks[0, 2, 0], tracks[0, 2, -1])[0].tolist() == [1.0, 1.0]
    assert tracks[0, 2, -1].tolist() == [63.0, 63.0]
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1  # the left half
    masked, _ = predictor(video, grid_size=4, segm_mask=mask)
    assert masked.shape[2] == 8 and (masked[0, 0, :, 0] < 32).all()


def test_the_predictor_tracks_a_batch_clip_by_clip(model, sample, queries):
    video = torch.stack([sample.video, sample.video.flip(0)]).float()
    tracks, _ = CoTrackerPredictor(model)(video, queries=queries.expand(2, -1, -1))
    second = track(model, sample.video.flip(0), queries)
    assert torch.equal(tracks[1], second.tracks)


@pytest.mark.parametrize("size", [(10, 900), (900, 10), (64, 64)])
def test_the_predictors_grid_lies_inside_frames_of_any_shape(size):
    points = grid_with_margin(*size, 4)
    height, width = size
    assert (points > 0).all() and (points < torch.tensor([width, height])).all()
    assert len(points.unique(dim=0)) == 16


def test_without_queries_or_a_grid_every_pixel_is_tracked_row_by_row(model, sample, monkeypatch):
    clip = sample.video[:3, :, :9, :12]
    monkeypatch.setattr(predictor, "POINTS_AT_ONCE", 50)  # more than one pass, the last of them not full
    tracks, visible = CoTrackerPredictor(model)(
        clip[None].float(), grid_query_frame=1, backward_tracking=True
    )
    assert tracks.shape == (1, 3, 9 * 12, 2) and visible.shape == (1, 3, 9 * 12)
    image = tracks[0, 1].reshape(9, 12, 2)
    assert image[2, 5].tolist() == [5.5, 2.5] and image[8, 11].tolist() == [11.5, 8.5]
    alone = track(model, clip, [[1, 5.5, 2.5]], backward=True)
    assert torch.equal(alone.tracks[:, 0], tracks[0, :, 2 * 12 + 5])


def test_queries_may_be_whole_numbers_and_the_video_bytes(model, sample, queries):
    whole = queries.round().long().clamp(max=63)
    whole[:, 0] = queries[:, 0].long()
    tracks, _ = CoTrackerPredictor(model)(sample.video[None], queries=whole[None])
    again, _ = CoTrackerPredictor(model)(sample.video[None].float(), queries=whole[None].float())
    assert torch.equal(tracks, again)


def test_a_checkpoint_is_loaded_by_either_name_and_windows_are_taken(tmp_path):
    net = load("tiny")
    save_safetensors(net, net.config, tmp_path / "mine.safetensors")
    for predicts in (
        CoTrackerPredictor(checkpoint=tmp_path / "mine.safetensors"),
        CoTrackerPredictor(str(tmp_path / "mine.safetensors")),
        CoTrackerPredictor(checkpoint="tiny", offline=True, v2=False, window_len=60),
        CoTrackerOnlinePredictor(checkpoint="tiny"),
        CoTrackerPredictor(),
    ):
        assert torch.equal(predicts.model.coarse.temperature, net.coarse.temperature)
    with pytest.raises(ValueError, match="got both"):
        CoTrackerPredictor(net, checkpoint="tiny")
    torch.save({"model": {"a.weight": torch.zeros(1)}}, tmp_path / "scaled_offline.pth")
    with pytest.raises(ValueError, match="not a ReTracker checkpoint"):
        CoTrackerPredictor(checkpoint=tmp_path / "scaled_offline.pth")


def demo(online, frames, **points):
    """What co-tracker's online_demo.py does: the window of frames grows, and goes in by halves."""
    window, first = [], True
    answers = []

    def process(some):
        chunk = torch.stack(some[-online.step * 2 :]).float()[None]
        return online(chunk, is_first_step=first, **(points if first else {}))

    for i, frame in enumerate(frames):
        if i % online.step == 0 and i != 0:
            answers.append(process(window))
            first = False
        window.append(frame)
    answers.append(process(window[-(i % online.step) - online.step - 1 :]))
    return answers


@pytest.mark.parametrize("num_frames", [5, 6, 7, 8])
def test_the_online_demo_gives_what_the_online_tracker_says_of_every_frame(model, sample, num_frames):
    video = torch.cat([sample.video, sample.video.flip(0)])[:num_frames]
    online = CoTrackerOnlinePredictor(model, window_len=4)
    first, *chunks = demo(online, video, grid_size=3)
    assert online.step == 2 and first == (None, None)
    tracker = OnlineTracker(model)
    tracker.add_queries(grid_with_margin(64, 64, 3))
    expected = [tracker.step(frame) for frame in video]
    tracks, visible = chunks[-1]
    assert torch.equal(tracks[0], torch.stack([found.tracks for found in expected]))
    assert torch.equal(visible[0], torch.stack([found.visible for found in expected]))
    for early, _ in chunks:  # never changed afterwards
        assert torch.equal(early, tracks[:, : early.shape[1]])


def test_online_queries_are_born_in_their_own_frames(model, sample, queries):
    late = queries.clone()
    late[:, 0] = torch.tensor([0, 1, 2, 3, 4, 5, 0, 2, 9])
    online = CoTrackerOnlinePredictor(model, window_len=4)
    tracks, visible = demo(online, sample.video, queries=late[None])[-1]
    expected = track(model, sample.video, late[:8])
    assert torch.equal(tracks[0, :, :8], expected.tracks) and torch.equal(visible[0, :, :8], expected.visible)
    assert torch.equal(tracks[0, :, 8], late[8:, 1:].expand(6, 2)) and not visible[0, :, 8].any()


def test_hubs_way_of_calling_the_online_predictor_works_too(model, sample):
    online, video = CoTrackerOnlinePredictor(model, window_len=4), sample.video[None].float()
    for _ in range(2):  # another video begins anew
        online(video_chunk=video, is_first_step=True, grid_size=2)
        for start in range(0, video.shape[1] - online.step, online.step):
            tracks, visible = online(video_chunk=video[:, start : start + online.step * 2])
        assert tracks.shape == (1, 6, 4, 2) and visible.shape == (1, 6, 4)
    again, _ = demo(online, sample.video, grid_size=2)[-1]
    assert torch.equal(tracks, again)


def test_an_online_batch_is_tracked_video_by_video(model, sample, queries):
    online = CoTrackerOnlinePredictor(model, window_len=12)
    both = torch.stack([sample.video, sample.video.flip(0)]).float()
    asked = queries.clone()
    asked[:, 0] = 0
    online(both, is_first_step=True, queries=asked.expand(2, -1, -1))
    tracks, _ = online(both)
    assert torch.equal(tracks[1], track(model, sample.video.flip(0), asked).tracks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid_size": 0}, "queries or a grid_size of at least 1"),
        ({"queries": torch.zeros(2, 5, 3)}, r"shape \(1, N, 3\) = \(t, x, y\), got \(2, 5, 3\)"),
        ({"queries": torch.tensor([[[0.0, 65.0, 1.0]]])}, r"query 0 at \(65, 1\) lies outside"),
        ({"queries": torch.tensor([[[0.5, 5.0, 1.0]]])}, "query 0: expected a whole frame number"),
    ],
)
def test_a_wrong_first_step_is_named(model, sample, arguments, message):
    with pytest.raises(ValueError, match=message):
        CoTrackerOnlinePredictor(model)(sample.video[None].float(), is_first_step=True, **arguments)


def test_a_chunk_without_a_first_step_or_behind_a_gap_is_refused(model, sample):
    video = sample.video[None].float()
    online = CoTrackerOnlinePredictor(model, window_len=4)
    with pytest.raises(ValueError, match="expected a first step with 1 videos before, it had 0"):
        online(video)
    online(video, is_first_step=True)
    online(video[:, :1])
    with pytest.raises(ValueError, match="a chunk that begins by frame 1, got one from frame 2"):
        online(video[:, 2:])
