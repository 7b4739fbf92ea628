"""Videos survive the disk, and bad files get one clear sentence."""

from itertools import islice

import av
import pytest
import torch

from retracker.media.video import VideoWriter, count_frames, iterate_video, probe, read_video, write_video


def ramp(num_frames, height, width):
    """A smooth coloured clip, so that compression loses little. UInt8[T 3 H W]"""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    time = torch.linspace(0, 1, num_frames)[:, None, None].expand(-1, height, width)
    clip = torch.stack([x.expand_as(time), y.expand_as(time), 0.2 + 0.6 * time], dim=1)
    return (40 + 170 * clip).to(torch.uint8)


@pytest.mark.parametrize("size", [(64, 96), (63, 97)])
def test_a_written_video_reads_back_with_its_colours(tmp_path, size):
    video = ramp(9, *size)
    write_video(tmp_path / "clip.mp4", video, fps=12.5)
    back, fps = read_video(tmp_path / "clip.mp4")
    assert fps == 12.5
    assert back.shape[2:] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    error = (back[:, :, : size[0], : size[1]].float() - video.float()).abs()
    assert back.shape[0] == 9 and error.mean() < 2


def test_the_file_plays_in_a_browser(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, ramp(5, 48, 48), fps=30000 / 1001)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate.denominator == 1001
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # faststart


def test_probe_says_what_the_file_holds(tmp_path):
    write_video(tmp_path / "clip.mp4", ramp(7, 48, 64), fps=10)
    info = probe(tmp_path / "clip.mp4")
    assert (info.height, info.width, info.fps, info.num_frames) == (48, 64, 10.0, 7)


def test_only_the_first_frames_are_read_on_request(tmp_path):
    write_video(tmp_path / "clip.mp4", ramp(7, 48, 64), fps=10)
    assert len(read_video(tmp_path / "clip.mp4", max_frames=3)[0]) == 3
    assert len(list(islice(iterate_video(tmp_path / "clip.mp4"), 2))) == 2


def test_a_sideways_film_is_turned_upright(tmp_path):
    path = tmp_path / "sideways.mp4"
    picture = ramp(1, 48, 64)[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(90)
        frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).numpy(), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    turned = read_video(path)[0][0]
    assert turned.shape == (3, 64, 48)
    against_the_clock = torch.rot90(picture, 1, dims=(1, 2))
    assert (turned.float() - against_the_clock.float()).abs().mean() < 3


def test_a_failed_write_leaves_the_old_video_and_no_rubbish(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, ramp(3, 32, 32), fps=10)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="expected frames of"), VideoWriter(path, 10) as writer:
        writer.write(ramp(1, 32, 32)[0])
        writer.write(ramp(1, 32, 34)[0])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_without_frames_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "clip.mp4", ramp(1, 32, 32)[:0], fps=10)
    assert not list(tmp_path.iterdir())


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4: no such file"):
        read_video(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize("content", [b"", b"this is no video at all", bytes(4096)])
def test_an_unreadable_video_is_named(tmp_path, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.mp4: "):
        read_video(path)


def test_a_video_of_zero_frames_is_refused(tmp_path):
    path = tmp_path / "hollow.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    with pytest.raises(ValueError, match=r"hollow\.mp4: "):
        read_video(path)


def test_a_truncated_video_is_refused_or_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "cut.mp4"
    write_video(path, ramp(30, 64, 64), fps=10)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    with pytest.raises(ValueError, match=r"cut\.mp4: "):
        read_video(path)


def test_a_fragmented_file_is_counted_though_it_declares_its_first_fragment_only(tmp_path):
    path = tmp_path / "fragmented.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "3"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for picture in ramp(9, 48, 64):
            frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).numpy(), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert probe(path).num_frames < 9
    assert count_frames(path) == len(read_video(path)[0]) == 9


def test_frames_are_counted_as_they_are_decoded(tmp_path):
    write_video(tmp_path / "clip.mp4", ramp(7, 48, 64), fps=10)
    assert count_frames(tmp_path / "clip.mp4") == 7


@pytest.mark.parametrize("name", ["notes.txt", "art.ans"])
def test_a_text_file_is_no_video_though_ffmpeg_would_draw_it(tmp_path, name):
    (tmp_path / name).write_text("This is a text file.\n" * 50)
    with pytest.raises(ValueError, match=f"{name}: cannot be read as a video"):
        read_video(tmp_path / name)


def test_a_relative_name_with_a_colon_is_a_file_and_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("12:30.mp4", ramp(3, 48, 64), fps=10)
    assert probe("12:30.mp4").num_frames == len(read_video("12:30.mp4")[0]) == 3
