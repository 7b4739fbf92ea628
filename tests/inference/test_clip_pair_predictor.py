"""Whole clips, pairs of images and co-tracker's signature."""

from itertools import cycle

import av
import pytest
import torch

from retracker.inference import clip
from retracker.inference.clip import track
from retracker.inference.pair import grid_points, match
from retracker.inference.queries import Dense, Grid, Mask
from retracker.media.image import write_image
from retracker.media.sources import FrameStream
from retracker.media.video import read_video, write_video


def test_a_file_gives_what_its_frames_give(model, sample, queries, tmp_path):
    write_video(tmp_path / "clip.mp4", sample.video, fps=7)
    streamed = track(model, tmp_path / "clip.mp4", queries)
    held = track(model, read_video(tmp_path / "clip.mp4")[0], queries)
    assert torch.equal(streamed.tracks, held.tracks)
    assert torch.equal(streamed.visible, held.visible)
    assert (streamed.fps, held.fps, streamed.size) == (7.0, None, (64, 64))


def test_arrays_and_iterators_of_frames_are_videos(model, sample, queries):
    expected = track(model, sample.video, queries, backward=True)
    array = sample.video.permute(0, 2, 3, 1).numpy()
    for video in (array, iter(sample.video), (frame for frame in array)):
        assert torch.equal(track(model, video, queries, backward=True).tracks, expected.tracks)
    assert len(track(model, cycle(array), queries[:1], max_frames=8).tracks) == 8  # however long it is


def test_a_query_is_exact_at_its_birth_and_hidden_before(model, sample, queries):
    late = queries.clone()
    late[:, 0] = torch.tensor([0, 1, 2, 3, 4, 5, 0, 2, 3])
    result = track(model, sample.video, late.numpy())
    everyone, birth = torch.arange(9), late[:, 0].long()
    assert torch.equal(result.tracks[birth, everyone], late[:, 1:])
    assert result.visible[birth, everyone].all() and (result.confidence[birth, everyone] == 1).all()
    before = torch.arange(6)[:, None] < birth
    assert not result.visible[before].any() and (result.confidence[before] == 0).all()
    assert torch.equal(result.tracks[0, 1:6], late[1:6, 1:])  # waiting at its own position
    assert result.tracks.isfinite().all()


def test_backward_tracking_is_forward_tracking_of_the_reversed_clip(model, sample, queries):
    both = queries.clone()
    both[:, 0] = torch.tensor([3, 3, 3, 3, 5, 5, 0, 0, 0])
    result = track(model, sample.video, both, backward=True)
    forward = track(model, sample.video, both)
    mirrored = both.clone()
    mirrored[:, 0] = 5 - both[:, 0]
    reverse = track(model, sample.video.flip(0), mirrored)
    before = torch.arange(6)[:, None] < both[:, 0]
    assert torch.equal(result.tracks[before], reverse.tracks.flip(0)[before])
    assert torch.equal(result.confidence[before], reverse.confidence.flip(0)[before])
    assert torch.equal(result.tracks[~before], forward.tracks[~before])
    assert torch.equal(result.tracks[3, :4], both[:4, 1:])


def test_backward_tracking_keeps_only_the_frames_up_to_the_last_query(model, sample):
    one = sample.video[0].numpy().copy()

    def camera():
        for frame in sample.video:
            one[:] = frame.numpy()  # into the same memory, as cameras do
            yield one

    source = FrameStream(camera())
    streamed = track(model, source, [[1, 20.0, 30.0]], backward=True)
    held = track(model, sample.video, [[1, 20.0, 30.0]], backward=True)
    assert torch.equal(streamed.tracks, held.tracks) and len(source._kept) == 2


def test_backward_tracking_reads_a_file_again_instead_of_keeping_its_frames(
    model, sample, tmp_path, monkeypatch
):
    monkeypatch.setattr(clip, "READ_BACK", 2)  # in several blocks
    write_video(tmp_path / "clip.mp4", sample.video, fps=7)
    held = track(model, read_video(tmp_path / "clip.mp4")[0], [[5, 20.0, 30.0]], backward=True)
    streamed = track(model, tmp_path / "clip.mp4", [[5, 20.0, 30.0]], backward=True)
    assert torch.equal(streamed.tracks, held.tracks) and torch.equal(streamed.confidence, held.confidence)


@pytest.mark.parametrize("backward", [False, True])
def test_chunks_of_points_give_the_same_answer(model, sample, queries, backward):
    whole = track(model, sample.video, queries, backward=backward)
    parts = track(model, sample.video, queries, backward=backward, points_per_chunk=4)
    for name in ("tracks", "visible", "confidence", "queries"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))


def test_an_iterator_cannot_be_tracked_in_chunks(model, sample, queries):
    with pytest.raises(ValueError, match="only once"):
        track(model, iter(sample.video), queries, points_per_chunk=4)
    with pytest.raises(ValueError, match="positive"):
        track(model, sample.video, queries, points_per_chunk=0)


@pytest.mark.parametrize("most", [None, 4])
@pytest.mark.parametrize("asked_before", [0, 3, 8])
def test_what_was_done_when_tracking_is_stopped_is_kept(model, sample, queries, most, asked_before):
    queries = queries.clone()
    queries[:, 0] = torch.tensor([0, 0, 0, 5, 0, 2, 2, 3, 3])
    answers = iter([False] * asked_before)
    found = track(
        model, sample.video, queries, backward=True, points_per_chunk=most, stop=lambda: next(answers, True)
    )
    whole = track(model, sample.video, queries, backward=True)
    assert len(found.tracks) == min(6, asked_before)
    done = found.confidence > 0
    assert torch.equal(found.tracks[done], whole.tracks[: len(done)][done])
    assert not found.visible[~done].any() and found.tracks.isfinite().all()
    assert asked_before == 0 or done[0].sum() >= 3


def test_layouts_are_laid_out_once_the_size_is_known(model, sample):
    grid = track(model, sample.video, Grid(3, frame=2))
    assert (
        torch.equal(grid.queries[:, 1:].float(), grid_points(64, 64, 3)) and (grid.queries[:, 0] == 2).all()
    )
    dense = Dense(4).points(9, 6)
    assert dense.tolist() == [[1.5, 1.5], [5.5, 1.5], [1.5, 5.5], [5.5, 5.5]]
    assert len(Dense().points(3, 5)) == 15 and Dense(100).points(2, 3).tolist() == [[2.5, 1.5]]
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:20, 30:50] = True
    inside = track(model, sample.video, Mask(mask.numpy(), spacing=5), max_frames=1).queries[:, 1:]
    assert len(inside) == 8
    assert ((inside > torch.tensor([30.0, 10.0])) & (inside < torch.tensor([50.0, 20.0]))).all()


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Grid(0), "at least 1 point a side"),
        (Grid(2, frame=6), "query 0 is in frame 6, after the end"),
        (Dense(0), "spacing of at least 1 px"),
        (Mask(torch.ones(4, 4, dtype=torch.bool)), "mask of the frame's 64 x 64 px, got 4 x 4 px"),
        (Mask(torch.zeros(64, 64, dtype=torch.bool)), "mask holds none of the points"),
    ],
)
def test_a_layout_that_gives_no_points_is_refused(model, sample, layout, message):
    with pytest.raises(ValueError, match=message):
        track(model, sample.video, layout)


def test_one_frame_is_a_video(model, sample):
    result = track(model, sample.video[:1], Grid(2), backward=True)
    assert result.tracks.shape == (1, 4, 2) and result.visible.all()


def test_a_query_after_the_first_fragment_of_a_fragmented_file_is_tracked(model, sample, tmp_path):
    path = tmp_path / "fragmented.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "2"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for picture in sample.video:
            frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).numpy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert track(model, path, [[5, 3.0, 3.0]]).visible[5].all()
    with pytest.raises(ValueError, match="query 0 is in frame 6, after the end: the video has 6 frames"):
        track(model, path, [[6, 3.0, 3.0]])


def test_the_order_of_the_queries_does_not_matter(model, sample, queries):
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    a, b = track(model, sample.video, queries), track(model, sample.video, queries[order])
    assert torch.equal(a.tracks[:, order], b.tracks)


def test_progress_is_told_of_every_frame(model, sample, queries):
    calls = []
    track(model, sample.video, queries, progress=lambda: calls.append(1), max_frames=4)
    assert len(calls) == 4


def test_no_queries_give_no_tracks(model, sample):
    result = track(model, sample.video, torch.zeros(0, 3), backward=True)
    assert result.tracks.shape == (6, 0, 2)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([0, 70.0, 3.0], r"query 1 at \(70, 3\) lies outside the frame of 64 x 64 px"),
        ([6, 3.0, 3.0], "query 1 is in frame 6, after the end: the video has 6 frames"),
        ([-1, 3.0, 3.0], "query 1: expected a whole frame number from 0 to 2147483647, got -1"),
        ([0.5, 3.0, 3.0], "query 1: expected a whole frame number"),
        ([float("nan"), 3.0, 3.0], "query 1: expected a whole frame number"),
        ([1e300, 3.0, 3.0], "query 1: expected a whole frame number from 0 to 2147483647"),
        ([2.0**31, 3.0, 3.0], "query 1: expected a whole frame number"),
        ([0, 3.0, float("inf")], r"query 1 at \(3, inf\): expected finite"),
    ],
)
def test_a_bad_query_is_named_whatever_the_source(model, sample, tmp_path, query, message):
    write_video(tmp_path / "clip.mp4", sample.video, fps=7)
    for video in (sample.video, tmp_path / "clip.mp4"):
        with pytest.raises(ValueError, match=message):
            track(model, video, [[0, 1.0, 1.0], query])


def test_queries_of_a_wrong_shape_are_refused(model, sample):
    with pytest.raises(ValueError, match=r"shape \(N, 3\)"):
        track(model, sample.video, [[1.0, 2.0]])


def test_a_video_of_floats_is_refused(model, sample, queries):
    with pytest.raises((ValueError, TypeError)):
        track(model, sample.video.float(), queries)


def test_matching_an_image_with_itself_by_a_sure_net_finds_each_point_in_place(model, sample):
    with torch.no_grad():
        model.visible_threshold = -1.0  # random weights are not sure of anything
    matches = match(model, sample.video[0], sample.video[0], grid=5)
    assert matches.index.tolist() == sorted(matches.index.tolist())
    assert torch.equal(matches.points_a, grid_points(64, 64, 5)[matches.index])
    inside = (matches.points_b >= 0) & (matches.points_b <= 64)
    assert inside.all() and len(matches.points_b) > 0


def test_matching_is_a_clip_of_two_frames(model, sample, tmp_path):
    model.visible_threshold = -1.0
    points = grid_points(64, 64, 4)
    for index in (0, 3):
        write_image(tmp_path / f"{index}.png", sample.video[index])
    matches = match(model, tmp_path / "0.png", tmp_path / "3.png", points, subpixel=False)
    queries = torch.cat([torch.zeros(16, 1), points], dim=-1)
    clip = track(model, sample.video[[0, 3]], queries, subpixel=False)
    assert torch.equal(matches.points_b, clip.tracks[1, matches.index])
    assert torch.equal(matches.confidence, clip.confidence[1, matches.index])


def test_images_of_two_sizes_can_be_matched(model, sample):
    model.visible_threshold = -1.0
    matches = match(model, sample.video[0], sample.video[1, :, :40].permute(1, 2, 0), grid=6)
    assert (matches.points_b[:, 1] <= 40).all()


def test_hidden_points_are_no_matches(model, sample):
    model.match_threshold = model.visible_threshold = 2.0
    matches = match(model, sample.video[0], sample.video[1], grid=6)
    assert len(matches.points_a) == len(matches.points_b) == len(matches.confidence) == 0


def test_a_point_outside_the_first_image_is_named(model, sample):
    with pytest.raises(ValueError, match="query 0 at"):
        match(model, sample.video[0], sample.video[1], points=[[65.0, 2.0]])
