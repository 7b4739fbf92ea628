"""``retracker track``: what it takes, what it writes, and what is left when it is interrupted."""

import csv
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from retracker.__main__ import main
from retracker.checkpoint import build_net, save_safetensors
from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic
from retracker.media.image import write_image
from retracker.media.track_files import read_tracks
from retracker.media.video import VideoWriter, iterate_timed, probe, read_video, write_video
from retracker.visualize.style import TrackStyle
from retracker.visualize.tracks import TrackPainter

NUM_FRAMES = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip of 8 frames as a film and as pictures, and a tiny net of random weights."""
    folder = tmp_path_factory.mktemp("track")
    sample = Synthetic(length=1, difficulty="easy", num_frames=NUM_FRAMES, num_points=2, size=64, seed=0)[0]
    write_video(folder / "clip.mp4", sample.video, fps=8)
    (folder / "frames").mkdir()
    for t, frame in enumerate(read_video(folder / "clip.mp4")[0]):
        write_image(folder / "frames" / f"{t}.png", frame)
    config = OmegaConf.to_container(compose_config("train", []).model)
    config |= {"image_size": 64, "visible_threshold": -1.0}
    torch.manual_seed(0)
    save_safetensors(build_net(config), config, folder / "net.safetensors")
    return folder


def run(folder, out, *arguments):
    """Track; returns the exit code."""
    ckpt = ["--ckpt", str(folder / "net.safetensors"), "--out", str(out)]
    return main(["track", *map(str, arguments), *ckpt])


def test_a_folder_of_frames_is_the_film(folder, tmp_path):
    for video in ("clip.mp4", "frames"):
        assert run(folder, tmp_path, folder / video, "--grid", "2", "--save", "npz,mp4") == 0
    film, frames = (read_tracks(tmp_path / f"{name}_tracks.npz") for name in ("clip", "frames"))
    assert torch.equal(film.tracks, frames.tracks) and film.size == frames.size == (64, 64)
    assert film.fps == 8.0 and frames.fps is None and frames.times is None
    assert film.times.tolist() == pytest.approx([t / 8 for t in range(8)], abs=1e-6)
    assert probe(tmp_path / "frames_tracks.mp4").num_frames == NUM_FRAMES


def test_who_is_visible_may_be_asked_at_another_threshold(folder, tmp_path):
    how = ["--points", "1,20,30", "--end", "3", "--save", "npz", "--visible-threshold", "1"]
    assert run(folder, tmp_path, folder / "clip.mp4", *how) == 0
    found = read_tracks(tmp_path / "clip_tracks.npz")
    assert found.visible[:, 0].tolist() == [False, True, False]  # this net's own threshold: always visible


def test_some_frames_keep_their_numbers_and_times(folder, tmp_path):
    some = ["--start", "2", "--end", "7", "--stride", "2"]
    points = ["--points", "2,20,30;4,33,12"]
    assert run(folder, tmp_path, folder / "clip.mp4", *some, *points, "--save", "npz,csv,mp4") == 0
    found = read_tracks(tmp_path / "clip_tracks.npz")
    assert found.frames.tolist() == [2, 4, 6] and found.queries[:, 0].tolist() == [2, 4]
    assert found.first_frame.tolist() == [0, 1] and found.fps == 4.0
    assert found.times.tolist() == pytest.approx([0.25, 0.5, 0.75], abs=1e-6)
    table = read_tracks(tmp_path / "clip_tracks.csv")
    for name in ("tracks", "visible", "confidence", "frames"):
        assert torch.equal(getattr(found, name), getattr(table, name))
    assert probe(tmp_path / "clip_tracks.mp4").fps == 4.0


def test_npz_and_csv_give_the_overlay_that_was_written(folder, tmp_path):
    points = ["--points", "0,20,30;3,33,12"]
    assert run(folder, tmp_path, folder / "clip.mp4", *points, "--save", "npz,csv,mp4") == 0
    frames, _ = read_video(folder / "clip.mp4")
    films = []
    for ending in ("npz", "csv"):
        found = read_tracks(tmp_path / f"clip_tracks.{ending}")
        style = TrackStyle(zoom=4)  # frames of 64 px are shown at 256
        painter = TrackPainter(found.tracks, found.visible, found.first_frame, style)
        write_video(
            tmp_path / "again.mp4", torch.stack([painter.draw(f, t) for t, f in enumerate(frames)]), 8
        )
        films.append(read_video(tmp_path / "again.mp4")[0])
    written, _ = read_video(tmp_path / "clip_tracks.mp4")
    assert torch.equal(films[0], written) and torch.equal(films[1], written)


def test_queries_of_tracks_that_were_written_are_tracked_again(folder, tmp_path):
    clip = folder / "clip.mp4"
    assert run(folder, tmp_path, clip, "--points", "0,20,30;3,33,12", "--save", "npz") == 0
    first = read_tracks(tmp_path / "clip_tracks.npz")
    assert run(folder, tmp_path / "b", clip, "--queries", tmp_path / "clip_tracks.npz", "--save", "npz") == 0
    assert torch.equal(read_tracks(tmp_path / "b" / "clip_tracks.npz").tracks, first.tracks)


def test_points_lie_in_the_mask(folder, tmp_path):
    mask = torch.zeros(3, 64, 64, dtype=torch.uint8)
    mask[:, 16:48, 8:24] = 255
    write_image(tmp_path / "mask.png", mask)
    chosen = ["--mask", tmp_path / "mask.png", "--spacing", "4", "--grid-frame", "1", "--save", "npz"]
    assert run(folder, tmp_path, folder / "clip.mp4", *chosen) == 0
    t, x, y = read_tracks(tmp_path / "clip_tracks.npz").queries.T
    assert len(t) == 32 and (t == 1).all()
    assert ((x > 8) & (x < 24) & (y > 16) & (y < 48)).all()


def test_chunks_give_the_same_files(folder, tmp_path):
    clip = [folder / "clip.mp4", "--dense", "16", "--save", "csv"]
    assert run(folder, tmp_path / "a", *clip, "--backward") == 0
    assert run(folder, tmp_path / "b", *clip, "--backward", "--points-per-chunk", "5") == 0
    one, other = ((tmp_path / name / "clip_tracks.csv").read_bytes() for name in "ab")
    assert one == other and one.count(b"\n") == 1 + 16 * NUM_FRAMES


def test_memory_that_is_at_an_end_is_one_line(folder, tmp_path, capsys, monkeypatch):
    def too_much(*_, **__):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: 119999957472 bytes\nat"
        )

    monkeypatch.setattr("retracker.commands.track.track", too_much)
    clip = folder / "clip.mp4"
    assert run(folder, tmp_path, clip, "--grid", "2") == 1
    told = capsys.readouterr().err
    assert f"retracker track: {clip}: out of memory (" in told and told.count("\n") == 1
    assert run(folder, tmp_path, clip, folder / "frames", "--grid", "2") == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "frames: out of memory (" in told[1]  # the first did not keep it from that


def test_memory_that_is_at_an_end_tells_no_password(folder, tmp_path, capsys, monkeypatch):
    def too_much(*_):
        raise MemoryError

    monkeypatch.setattr("retracker.commands.track._track_one", too_much)
    assert run(folder, tmp_path, "rtsp://me:secret@127.0.0.1:9/x", "--grid", "2") == 1
    told = capsys.readouterr().err
    assert "rtsp://127.0.0.1:9/x: out of memory; lower sizes" in told and "secret" not in told


def test_a_frame_of_another_size_is_named_by_its_file(folder, tmp_path, capsys):
    (tmp_path / "film").mkdir()
    for name, width in (("f1", 64), ("f2", 64), ("f10", 48)):
        write_image(tmp_path / "film" / f"{name}.png", torch.zeros(3, 64, width, dtype=torch.uint8))
    assert run(folder, tmp_path, tmp_path / "film", "--grid", "2") == 2
    assert "f10.png: expected 64 x 64 px like the first frame, got 48 x 64 px" in capsys.readouterr().err


def test_half_precision_differs_a_little(folder, tmp_path):
    clip = ["track", str(folder / "clip.mp4"), "--grid", "3", "--save", "npz", "--image-size", "64"]
    for precision in ("fp32", "bf16"):
        assert main([*clip, "--precision", precision, "--out", str(tmp_path / precision)]) == 0
    one, other = (read_tracks(tmp_path / name / "clip_tracks.npz") for name in ("fp32", "bf16"))
    assert not torch.equal(one.confidence, other.confidence)
    assert (one.tracks - other.tracks).norm(dim=-1).median() < 0.5


def test_pictures_are_no_larger_than_asked_and_positions_stay_in_the_videos_pixels(folder, tmp_path):
    clip = [folder / "clip.mp4", "--points", "0,50,60", "--max-frames", "2"]
    assert run(folder, tmp_path, *clip, "--max-size", "32", "--save", "npz,mp4") == 0
    info = probe(tmp_path / "clip_tracks.mp4")
    assert (info.height, info.width) == (32, 32)
    assert read_tracks(tmp_path / "clip_tracks.npz").tracks[0, 0].tolist() == [50.0, 60.0]


def test_a_folder_of_videos_is_tracked_one_by_one(folder, tmp_path, capsys):
    (tmp_path / "films").mkdir()
    for name in ("a.mp4", "a.mkv", "b.mp4"):
        (tmp_path / "films" / name).write_bytes((folder / "clip.mp4").read_bytes())
    (tmp_path / "films" / "broken.mov").write_text("no film")
    code = run(
        folder, tmp_path / "out", tmp_path / "films", "--grid", "2", "--save", "npz", "--max-frames", "2"
    )
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a_mkv_tracks.npz", "a_mp4_tracks.npz", "b_tracks.npz"]
    told = capsys.readouterr().err
    assert code == 2 and "broken.mov: cannot be read as a video" in told and told.count("\n") == 1


def test_times_of_an_uneven_film_are_kept_in_all_files(folder, tmp_path):
    times = [0.0, 0.04, 0.1, 0.12, 0.5]
    frames, _ = read_video(folder / "clip.mp4")
    with VideoWriter(tmp_path / "uneven.mp4", 25) as writer:
        for time_s, frame in zip(times, frames, strict=False):
            writer.write(frame, time_s)
    assert run(folder, tmp_path, tmp_path / "uneven.mp4", "--grid", "2", "--save", "npz,csv,mp4") == 0
    for ending in ("npz", "csv"):
        kept = read_tracks(tmp_path / f"uneven_tracks.{ending}").times
        np.testing.assert_allclose(kept, times, atol=1e-4)
    drawn = [time_s for time_s, _ in iterate_timed(tmp_path / "uneven_tracks.mp4")]
    np.testing.assert_allclose(drawn, times, atol=1e-4)


def test_deeplabcuts_table_has_a_line_per_frame(folder, tmp_path):
    clip = [folder / "clip.mp4", "--points", "0,20,30;3,33,12"]
    assert run(folder, tmp_path, *clip, "--save", "deeplabcut") == 0
    with (tmp_path / "clip_tracks_deeplabcut.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 3 + NUM_FRAMES and rows[3][:4] == ["0", "19.5", "29.5", "1.0"]


@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="needs the package rerun-sdk")
def test_reruns_file_is_one(folder, tmp_path):
    assert run(folder, tmp_path, folder / "clip.mp4", "--grid", "2", "--save", "rrd") == 0
    content = (tmp_path / "clip_tracks.rrd").read_bytes()
    assert content.startswith(b"RRF2") and b"video/visible" in content and b"video/trails" in content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stride", "0"], "--stride: expected a positive number, got 0"),
        (["--start", "9"], "has no frame 9"),
        (["--start", "3", "--end", "2"], "expected an end after the start (3), got 2"),
        (["--start", "2", "--points", "0,3,3"], "query 0 is in frame 0, which is not tracked"),
        (["--stride", "2", "--points", "4,3,3;5,3,3"], "query 1 is in frame 5, which is not tracked"),
        (["--points", "0,3,3", "--grid-frame", "1"], "--grid-frame: is for --grid"),
        (["--spacing", "3"], "--spacing: is for --mask"),
        (["--mask", "frames/0.png", "--spacing", "99"], "the mask holds none of the points"),
        (["--dense", "0"], "expected a spacing of at least 1 px, got 0"),
        (["--queries", "net.npz"], "net.npz: holds no array of queries"),
        (["--queries", "tracks.csv"], "tracks.csv: holds tracks; the queries of that run are in its .npz"),
        (
            ["--queries", "other.npz"],
            "other.npz: belongs to a video of 48 x 32 px, but clip.mp4 has 64 x 64 px",
        ),
        (["--image-size", "5"], "--image-size: expected 32 px or more, got 5"),
        (["--points-per-chunk", "0"], "--points-per-chunk: expected a positive number"),
        (["--visible-threshold", "45"], "--visible-threshold: expected a number from 0 to 1, got 45"),
    ],
)
def test_a_mistake_is_one_line(folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    (folder / "net.npz").write_text("nothing")
    (folder / "tracks.csv").write_text("frame,id,x,y,visible,confidence,time\n0,0,3,3,1,1,0.0\n")
    np.savez(folder / "other.npz", queries=np.ones((1, 3)), size=np.array([32, 48]))
    mask = torch.zeros(3, 64, 64, dtype=torch.uint8)
    mask[:, :2, :2] = 255
    write_image(folder / "frames" / "0.png", mask)
    assert run(folder, tmp_path, "clip.mp4", *arguments) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_what_is_done_when_ctrl_c_is_pressed_is_written(folder, tmp_path):
    frames, _ = read_video(folder / "clip.mp4")
    write_video(tmp_path / "long.mp4", frames.repeat(200, 1, 1, 1), 8)
    words = ["track", tmp_path / "long.mp4", "--grid", "2", "--save", "npz", "--out", tmp_path]
    command = [sys.executable, "-m", "retracker", *words, "--ckpt", folder / "net.safetensors"]
    hurried = (
        "import retracker.commands.shell as s; s.LINE_EVERY = 0.0; "
        "import sys; from retracker.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command[1:3] = ["-c", hurried]
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        while "frames" not in process.stderr.readline():  # it tracks
            assert process.poll() is None
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate()
    assert process.returncode == 130 and "Traceback" not in errors
    assert "interrupted after" in told and "what was done is kept" in told
    found = read_tracks(tmp_path / "long_tracks.npz")
    assert 0 < len(found.tracks) < 1600 and f"after {len(found.tracks)} frames" in told


def test_a_stream_is_tracked_as_it_comes(folder, tmp_path, capsys):
    """A file behind a URL is played at its own speed: who is slower leaves frames out."""
    url = (folder / "clip.mp4").as_uri()  # file://...
    assert run(folder, tmp_path, url, "--points", "0,20,30", "--save", "npz,mp4") == 0
    [name] = [path.stem for path in tmp_path.glob("*.npz")]
    found = read_tracks(tmp_path / f"{name}.npz")
    told = capsys.readouterr().out
    [came] = re.findall(r"(\d+) frames came, (\d+) were left out", told)
    assert int(came[0]) - int(came[1]) == len(found.tracks) > 0
    assert (found.times.diff() > 0).all() and found.tracks[0, 0].tolist() == [20.0, 30.0]
    assert probe(tmp_path / f"{name}.mp4").num_frames == len(found.tracks)


def test_a_stream_that_is_interrupted_is_kept(folder, tmp_path, capsys, monkeypatch):
    asked = iter([False, False, True])
    monkeypatch.setattr(
        "retracker.commands.track.interruptible", lambda: nullcontext(lambda: next(asked, True))
    )
    url = (folder / "clip.mp4").as_uri()
    assert run(folder, tmp_path, url, "--grid", "2", "--save", "npz,mp4") == 130
    assert "what was done is kept" in capsys.readouterr().out
    [npz], [mp4] = tmp_path.glob("*.npz"), tmp_path.glob("*.mp4")
    assert probe(mp4).num_frames in (1, 2)  # as many as came before the third question
    with np.load(npz) as kept:
        assert str(kept["video"]) == url


def test_a_folder_of_films_with_a_picture_is_refused(folder, tmp_path, capsys):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes((folder / "clip.mp4").read_bytes())
    write_image(tmp_path / "cover.png", torch.zeros(3, 8, 8, dtype=torch.uint8))
    assert run(folder, tmp_path / "out", tmp_path) == 2
    assert "holds films and pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [("91", "camera 91: cannot be opened"), ("rtsp://127.0.0.1:9/none", "cannot be opened")],
)
def test_a_camera_that_is_not_there_is_one_line(folder, tmp_path, capsys, source, message):
    assert run(folder, tmp_path, source) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
