"""The shell commands: what they write, and one line with exit code 2 for every mistake."""

import csv
import re
import shutil
import tracemalloc

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from retracker.__main__ import COMMANDS, main
from retracker.checkpoint import build_net, save_safetensors
from retracker.configuration import compose_config, config_dir
from retracker.data.datasets.synthetic import Synthetic
from retracker.media.image import read_image, write_image
from retracker.media.track_files import COLUMNS, write_tracks_csv
from retracker.media.video import probe, write_video
from retracker.types import TrackResult


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory):
    """A folder with a clip of 5 frames, two of its images and a tiny net of random weights."""
    folder = tmp_path_factory.mktemp("ingredients")
    video = Synthetic(length=1, difficulty="easy", num_frames=5, num_points=2, size=64, seed=0)[0].video
    write_video(folder / "clip.mp4", video, fps=8)
    (folder / "empty").mkdir()
    write_image(folder / "a.png", video[0])
    write_image(folder / "b.png", video[3])
    config = OmegaConf.to_container(compose_config("train", []).model)
    config |= {"image_size": 64, "visible_threshold": -1.0}
    torch.manual_seed(0)
    save_safetensors(build_net(config), config, folder / "net.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path, ingredients):
    """A copy of them that a test may write into."""
    return shutil.copytree(ingredients, tmp_path, dirs_exist_ok=True)


def run(folder, command, *arguments):
    return main(
        [command, *arguments, "--ckpt", str(folder / "net.safetensors"), "--out", str(folder / "out")]
    )


def only_line(captured):
    """The one line on stderr, which is no traceback."""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0], captured.err
    return lines[0]


def test_a_grid_is_born_in_the_frame_it_is_asked_for(folder):
    clip = str(folder / "clip.mp4")
    assert run(folder, "track", clip, "--grid", "2", "--grid-frame", "3", "--save", "npz") == 0
    arrays = np.load(folder / "out" / "clip_tracks.npz")
    assert arrays["queries"][:, 0].tolist() == [3] * 4
    assert not arrays["visible"][:3].any() and arrays["visible"][3].all()


def test_a_misspelt_override_is_one_line_through_the_entry_point_too(capsys):
    assert main(["train", "totl_steps=3"]) == 2
    assert "totl_steps" in only_line(capsys.readouterr())


def test_track_writes_arrays_a_table_and_a_film(folder, capsys):
    assert run(folder, "track", str(folder / "clip.mp4"), "--grid", "3", "--save", "npz,csv,mp4") == 0
    stem = folder / "out" / "clip_tracks"
    arrays = np.load(f"{stem}.npz")
    assert arrays["tracks"].shape == (5, 9, 2) and arrays["tracks"].dtype == np.float32
    assert arrays["visible"].shape == arrays["confidence"].shape == (5, 9)
    assert arrays["queries"].shape == (9, 3)
    assert (float(arrays["fps"]), arrays["size"].tolist()) == (8.0, [64, 64])
    np.testing.assert_array_equal(arrays["tracks"][0], arrays["queries"][:, 1:].astype(np.float32))
    with open(f"{stem}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 45 and list(rows[0]) == list(COLUMNS)
    assert np.float32(rows[-1]["x"]) == arrays["tracks"][4, 8, 0]
    info = probe(f"{stem}.mp4")
    assert (info.num_frames, info.fps, info.height, info.width) == (5, 8.0, 256, 256)  # to be seen
    told = capsys.readouterr().out
    assert all(f"{stem}.{name}" in told for name in ("npz", "csv", "mp4"))


def test_track_takes_queries_from_a_file_or_the_line(folder):
    (folder / "q.csv").write_text("t, x, y\n0,5,6\n\n2,30.5,40\n")
    (folder / "bare.csv").write_text("0,5,6\n2,30.5,40\n")
    given = ["--queries", str(folder / "q.csv")], ["--queries", str(folder / "bare.csv")]
    found = []
    for source in (*given, ["--points", "0,5,6;2,30.5,40"]):
        assert run(folder, "track", str(folder / "clip.mp4"), *source, "--save", "npz", "--backward") == 0
        found.append(np.load(folder / "out" / "clip_tracks.npz")["tracks"])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert found[0][2, 1].tolist() == [30.5, 40.0]


def test_compiling_without_a_compiler_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    arguments = ["track", str(folder / "clip.mp4"), "--ckpt", str(folder / "net.safetensors"), "--compile"]
    assert exit_code([*arguments, "--device", "cpu", "--out", str(folder)]) == 2
    assert "--compile: needs a C++ compiler (g++ or clang++)" in only_line(capsys.readouterr())


def test_track_stops_where_told(folder):
    assert run(folder, "track", str(folder / "clip.mp4"), "--max-frames", "2", "--grid", "2") == 0
    assert len(np.load(folder / "out" / "clip_tracks.npz")["tracks"]) == 2
    assert probe(folder / "out" / "clip_tracks.mp4").num_frames == 2


def test_match_writes_arrays_and_a_picture(folder):
    assert run(folder, "match", str(folder / "a.png"), str(folder / "b.png"), "--grid", "4") == 0
    arrays = np.load(folder / "out" / "a_b_matches.npz")
    assert arrays["points_a"].shape == arrays["points_b"].shape == (len(arrays["confidence"]), 2)
    assert read_image(folder / "out" / "a_b_matches.png").shape[-1] > 2 * 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4"], "nowhere.mp4: no such file"),
        (["text.mp4"], "text.mp4: cannot be read as a video"),
        (["empty"], "empty: holds no picture and no video"),
        (["clip.mp4", "--points", "0,99,3"], "query 0 at (99, 3) lies outside the frame of 64 x 64 px"),
        (["clip.mp4", "--points", "5,9,3"], "query 0 is in frame 5, after the end: the video has 5 frames"),
        (["clip.mp4", "--points", "2,9,3", "--max-frames", "2"], "after the end: the video has 2 frames"),
        (["clip.mp4", "--points", "1e300,3,3"], "query 0: expected a whole frame number"),
        (["clip.mp4", "--points", "0,nan,3"], "--points, point 0: expected finite numbers"),
        (["clip.mp4", "--points", "0,1"], "--points, point 0: expected three numbers t,x,y, got '0,1'"),
        (["clip.mp4", "--points", ";"], "--points: expected"),
        (["clip.mp4", "--queries", "bad.csv"], "bad.csv, line 3: expected three numbers t,x,y, got '0,x,3'"),
        (["clip.mp4", "--queries", "empty.csv"], "empty.csv: holds no queries"),
        (["clip.mp4", "--queries", "clip.mp4"], "clip.mp4: is not a text file"),
        (["clip.mp4", "--grid", "0"], "grid of at least 1"),
        (["clip.mp4", "--grid", "x"], "--grid: invalid int value"),
        (["clip.mp4", "--grid", "2", "--points", "0,1,1"], "not allowed with"),
        (["clip.mp4", "--grid", "2", "--grid-frame", "7"], "query 0 is in frame 7, after the end"),
        (
            ["clip.mp4", "--grid", "2", "--grid-frame", "-1"],
            "whole frame number from 0 to 2147483647, got -1",
        ),
        (
            ["clip.mp4", "--save", "npz,gif"],
            "--save: expected some of npz, csv, deeplabcut, mp4, rrd, got 'gif'",
        ),
        (["clip.mp4", "--max-frames", "0"], "--max-frames: expected a positive number, got 0"),
        (["clip.mp4", "--device", "abacus"], "--device: cannot use 'abacus'"),
        (["clip.mp4", "--out", "clip.mp4"], "--out: cannot make the folder clip.mp4"),
        (["clip.mp4", "--ckpt", "nowhere.ckpt"], "nowhere.ckpt"),
        (["clip.mp4", "--ckpt", "text.mp4"], "text.mp4: "),
        (["clip.mp4", "--ckpt", "foreign.safetensors"], "foreign.safetensors: not a ReTracker checkpoint"),
        (["clip.mp4", "--frob"], "unrecognized arguments: --frob"),
        ([], "required: video"),
    ],
)
def test_a_mistake_in_track_gets_one_line_and_exit_code_2(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    (folder / "text.mp4").write_text("not a video")
    (folder / "bad.csv").write_text("t,x,y\n0,5,5\n0,x,3\n")
    (folder / "empty.csv").write_text("t,x,y\n")
    save_file({"weight": torch.zeros(2)}, folder / "foreign.safetensors")
    given = arguments if "--ckpt" in arguments else [*arguments, "--ckpt", "net.safetensors"]
    assert exit_code(["track", *given]) == 2
    assert message in only_line(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "nowhere.png"], "nowhere.png: no such file"),
        (["a.png", "text.png"], "text.png: cannot be read as an image"),
        (["a.png", "b.png", "--save", "mp4"], "--save: expected some of npz, png, got 'mp4'"),
        (["a.png", "b.png", "--grid", "-3"], "--grid: expected a positive number, got -3"),
        (["a.png"], "required: image_b"),
    ],
)
def test_a_mistake_in_match_gets_one_line_and_exit_code_2(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    (folder / "text.png").write_text("not an image")
    assert exit_code(["match", *arguments, "--ckpt", "net.safetensors"]) == 2
    assert message in only_line(capsys.readouterr())


def test_a_failed_run_leaves_the_finished_result_alone(folder):
    run(folder, "track", str(folder / "clip.mp4"), "--grid", "2", "--save", "npz")
    before = (folder / "out" / "clip_tracks.npz").read_bytes()
    assert run(folder, "track", str(folder / "clip.mp4"), "--points", "0,99,1", "--save", "npz") == 2
    assert (folder / "out" / "clip_tracks.npz").read_bytes() == before
    assert len(list((folder / "out").iterdir())) == 1


def test_an_unknown_command_is_named(capsys):
    assert main(["frobnicate"]) == 2
    assert "'frobnicate'" in only_line(capsys.readouterr())


def test_help_lists_every_command(capsys):
    assert main([]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(command, flag, capsys):
    assert exit_code([command, flag]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"usage: retracker {command}") and not captured.err


def test_help_of_train_and_eval_names_keys_groups_and_choices(capsys):
    main(["train", "--help"])
    told = capsys.readouterr().out
    assert "model=base|booster|small|tiny" in told and "loss@module.loss=booster|" in told
    assert "+experiment=" in told and "total_steps: 2000" in told
    main(["eval", "benchmark=synthetic_val", "--help"])
    told = capsys.readouterr().out
    assert "|synthetic_val|" in told and "matcher=aliked_lightglue|" in told and "check_independence:" in told
    assert "+experiment" not in told


def test_help_shows_every_group_of_the_configuration(capsys):
    main(["train", "--help"])
    main(["eval", "--help"])
    told = set(re.findall(r"^  \+?(\w+)(?:@[\w.]+)?=(?=\w)", capsys.readouterr().out, re.MULTILINE))
    assert {path.name for path in config_dir().iterdir() if path.is_dir()} - told == set()


def test_a_long_table_is_not_held_in_memory(tmp_path):
    tracks = torch.rand(200, 200, 2)
    result = TrackResult(tracks=tracks, visible=tracks[..., 0] > 0.5, confidence=tracks[..., 1], size=(9, 9))
    tracemalloc.start()
    write_tracks_csv(tmp_path / "tracks.csv", result)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20  # as lists the whole table takes 8 MiB
    assert len((tmp_path / "tracks.csv").read_text().splitlines()) == 1 + 200 * 200


def exit_code(argv):
    """The exit code, however the command leaves."""
    try:
        return main(argv)
    except SystemExit as leaving:
        return leaving.code
