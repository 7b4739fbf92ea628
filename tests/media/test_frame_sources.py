"""Frames from files, folders, arrays and iterators."""

import av
import numpy as np
import pytest
import torch

from retracker.media.image import write_image
from retracker.media.sources import FrameStream, VideoFile, Window, as_source, pictures_in, rgb, videos_in
from retracker.media.video import VideoWriter, iterate_timed, read_video, write_video

VIDEO = torch.randint(0, 255, (7, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sources(tmp_path):
    """A function: the same seven frames from everywhere, through a window."""
    write_video(tmp_path / "clip.mp4", VIDEO, fps=8)
    decoded, _ = read_video(tmp_path / "clip.mp4")
    (tmp_path / "frames").mkdir()
    for t, frame in enumerate(decoded):
        write_image(
            tmp_path / "frames" / f"frame_{t + 7}.png", frame
        )  # 7 to 13: letters would order otherwise
    (tmp_path / "frames" / "notes.txt").write_text("not a picture")
    (tmp_path / "frames" / ".hidden.png").write_text("no picture either")
    everywhere = [
        lambda: tmp_path / "clip.mp4",
        lambda: str(tmp_path / "frames"),
        lambda: decoded,
        lambda: decoded.permute(0, 2, 3, 1).numpy()[::-1][::-1],
        lambda: list(decoded),
        lambda: iter(decoded),
    ]
    return decoded, lambda window: [as_source(video(), window) for video in everywhere]


@pytest.mark.parametrize(
    "window", [Window(), Window(start=2), Window(end=5), Window(start=1, end=6, stride=2), Window(stride=10)]
)
def test_every_source_gives_the_frames_of_its_window(sources, window):
    decoded, open_all = sources
    expected = decoded[window.start : window.end : window.stride]
    assert window.count(7) == len(expected) and window.number(0) == window.start
    for source in open_all(window):
        assert source.size() == (16, 24)
        source.keep(len(expected))
        assert source.declared() in (None, len(expected))
        frames = list(source)
        assert torch.equal(torch.stack(frames), expected)
        assert torch.equal(source.read([0]), expected[:1])
        assert torch.equal(source.read(range(len(expected))), expected)
        assert not source.repeatable or torch.equal(torch.stack(list(source)), expected)


def test_an_iterator_is_read_once():
    source = FrameStream(iter(VIDEO))
    assert len(list(source)) == 7 and not source.repeatable
    with pytest.raises(ValueError, match="only once"):
        list(source)


def test_a_source_keeps_its_own_window_and_a_list_may_have_times():
    with pytest.raises(ValueError, match="expected no window"):
        as_source(FrameStream(iter(VIDEO)), Window(end=3))
    timed = as_source([(0.5, VIDEO[0]), (0.7, VIDEO[1])])
    assert [time for time, _ in timed.timed()] == [0.5, 0.7]
    assert torch.equal(timed.read([1])[0], VIDEO[1])


def test_a_window_of_nothing_is_refused(sources):
    for wrong in ({"start": -1}, {"stride": 0}, {"start": 3, "end": 3}):
        with pytest.raises(ValueError, match="expected"):
            Window(**wrong)
    for source in sources[1](Window(start=50)):
        with pytest.raises(ValueError, match="has no frame 50"):
            source.size()


def test_frames_of_any_channels_are_colours():
    grey = torch.arange(12, dtype=torch.uint8).view(3, 4)[:2]  # 2 4
    for same in (grey, grey[None], grey[..., None], grey.numpy()[:, ::-1][:, ::-1]):
        assert torch.equal(rgb(same), grey.expand(3, 2, 4))
    alpha = torch.cat([VIDEO[0], VIDEO[0][:1]])
    for same in (VIDEO[0], VIDEO[0].permute(1, 2, 0), alpha, alpha.permute(1, 2, 0).numpy()):
        assert torch.equal(rgb(same), VIDEO[0])
    for wrong in (VIDEO[0].float(), VIDEO[0][:2], VIDEO, torch.zeros(3, 0, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="expected a frame"):
            rgb(wrong)


def test_grey_and_transparent_videos_are_videos():
    grey = as_source(VIDEO[:, 0])
    assert torch.equal(next(iter(grey)), VIDEO[0, :1].expand(3, -1, -1))
    with pytest.raises(ValueError, match=r"shape \(T, 3, H, W\)"):
        as_source(VIDEO[0])  # one frame, not three grey ones


@pytest.mark.usefixtures("sources")
def test_folders_tell_pictures_and_videos_apart(tmp_path):
    assert [path.name for path in videos_in(tmp_path)] == ["clip.mp4"]
    assert [path.stem for path in pictures_in(tmp_path / "frames")] == [f"frame_{t}" for t in range(7, 14)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no picture and no video"):
        as_source(tmp_path / "empty")


def test_times_of_an_uneven_film_are_kept(tmp_path):
    times = [0.0, 0.04, 0.1, 0.12, 0.5, 0.52, 1.0]
    with VideoWriter(tmp_path / "uneven.mp4", 25) as writer:
        for time, frame in zip(times, VIDEO, strict=True):
            writer.write(frame, 3.0 + time)  # what counts is the time since the first
    np.testing.assert_allclose([time for time, _ in iterate_timed(tmp_path / "uneven.mp4")], times, atol=1e-4)
    source = VideoFile(tmp_path / "uneven.mp4", Window(start=2, stride=2))
    np.testing.assert_allclose([time for time, _ in source.timed()], times[2::2], atol=1e-4)
    assert len(read_video(tmp_path / "uneven.mp4")[0]) == 7


def test_a_film_without_times_gets_them_from_its_rate(tmp_path):
    with av.open(str(tmp_path / "raw.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv420p"
        for picture in VIDEO:
            frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).numpy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    times = [time for time, _ in iterate_timed(tmp_path / "raw.h264")]
    assert len(times) == 7 and (np.diff(times) > 0).all()
