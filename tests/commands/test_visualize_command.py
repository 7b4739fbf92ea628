"""``retracker visualize``: the same overlay from every file of one clip, and one line for every mistake."""

import shutil
import tracemalloc
from dataclasses import replace

import pytest
import torch
from PIL import Image

from retracker.__main__ import main
from retracker.commands.visualize import MOST_GIF_FRAMES
from retracker.data.datasets.synthetic import Synthetic
from retracker.media.image import read_image
from retracker.media.track_files import write_tracks_csv, write_tracks_npz
from retracker.media.video import probe, read_video, write_video
from retracker.types import TrackResult

FRAMES, POINTS, HEIGHT, WIDTH = 6, 12, 48, 64


def save(stem, result):
    write_tracks_npz(stem.with_suffix(".npz"), result, torch.zeros(result.tracks.shape[1], 3), "clip.mp4")
    write_tracks_csv(stem.with_suffix(".csv"), result)


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory):
    """A clip of 6 frames of 64 x 48 px and tracks of it: true ones, worse ones, shorter and longer ones."""
    folder = tmp_path_factory.mktemp("ingredients")
    sample = Synthetic(length=1, difficulty="easy", num_frames=FRAMES, num_points=POINTS, size=WIDTH, seed=0)[
        0
    ]
    write_video(folder / "clip.mp4", sample.video[..., :HEIGHT, :], fps=8)
    born = torch.arange(FRAMES)[:, None] >= sample.queries.frame
    result = TrackResult(
        tracks=sample.tracks,
        visible=sample.visible & born,
        confidence=torch.rand(FRAMES, POINTS, generator=torch.Generator().manual_seed(0)).clamp(min=0.1)
        * born,
        size=(HEIGHT, WIDTH),
        fps=8.0,
    )
    save(folder / "good", result)
    save(folder / "worse", replace(result, tracks=result.tracks + 3))
    save(
        folder / "few",
        TrackResult(**{n: getattr(result, n)[:, :5] for n in ("tracks", "visible", "confidence")}),
    )
    save(folder / "foreign", replace(result, size=(96, 96)))
    parts = {n: getattr(result, n).repeat_interleave(2, 0) for n in ("tracks", "visible", "confidence")}
    save(folder / "long", TrackResult(**parts))
    save(
        folder / "empty",
        TrackResult(**{n: getattr(result, n)[:0] for n in ("tracks", "visible", "confidence")}),
    )
    return folder


@pytest.fixture
def folder(tmp_path, ingredients, monkeypatch):
    shutil.copytree(ingredients, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    """The exit code, however the command leaves."""
    try:
        return main(["visualize", *arguments])
    except SystemExit as leaving:
        return leaving.code


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--colour", "confidence", "--trail", "all"),
        ("--color", "motion", "--hidden", "skip", "--zoom", "2"),
        ("--colour", "travel", "--compensate", "--size", "0.5", "--dim", "0.6"),
        ("--lines",),
    ],
)
def test_the_npz_and_the_csv_of_a_clip_give_the_same_film(folder, options):
    for ending in ("npz", "csv"):
        assert run("clip.mp4", f"good.{ending}", *options, "--out", f"{ending}.mp4") == 0
    films = [read_video(folder / f"{ending}.mp4") for ending in ("npz", "csv")]
    assert torch.equal(films[0][0], films[1][0]) and films[0][1] == films[1][1] == 8
    assert len(films[0][0]) == FRAMES
    assert (folder / "npz.mp4").read_bytes() == (folder / "csv.mp4").read_bytes()


@pytest.mark.usefixtures("folder")
def test_it_draws_what_track_draws():
    arguments = ("--grid", "3", "--save", "npz,csv,mp4", "--image-size", "64", "--out", ".")
    assert main(["track", "clip.mp4", *arguments]) == 0
    for ending in ("npz", "csv"):
        assert run("clip.mp4", f"clip_tracks.{ending}", "--out", "again.mp4") == 0
        assert torch.equal(read_video("again.mp4")[0], read_video("clip_tracks.mp4")[0])


@pytest.mark.usefixtures("folder")
def test_tracks_of_some_frames_are_drawn_on_those(capsys):
    some = ("--start", "1", "--end", "6", "--stride", "2", "--grid", "3", "--save", "npz,csv,mp4")
    assert main(["track", "clip.mp4", *some, "--image-size", "64", "--out", "."]) == 0
    for ending in ("npz", "csv"):
        assert run("clip.mp4", f"clip_tracks.{ending}", "--out", "again.mp4") == 0
        assert torch.equal(read_video("again.mp4")[0], read_video("clip_tracks.mp4")[0])
    assert run("clip.mp4", "clip_tracks.csv", "--start", "3", "--out", "part.mp4") == 0
    assert probe("part.mp4").num_frames == 2
    assert run("clip.mp4", "clip_tracks.csv", "--frame", "5", "--out", "five.png") == 0
    assert run("clip.mp4", "clip_tracks.csv", "--frame", "4", "--out", "four.png") == 2
    assert "every 2 from 1 to 5, got 4" in capsys.readouterr().err


def test_the_film_has_a_name_of_its_own_and_can_be_a_part(folder, capsys):
    assert run("clip.mp4", "good.npz", "--start", "2", "--end", "5") == 0
    assert probe(folder / "clip_visualized.mp4").num_frames == 3
    assert capsys.readouterr().out == "wrote clip_visualized.mp4\n"
    assert run("clip.mp4", "good.npz", "--frame", "3", "--out", "three.png") == 0
    assert run("clip.mp4", "good.npz", "--start", "3", "--end", "4", "--sheet", "1", "--out", "one.png") == 0
    assert torch.equal(read_image("three.png"), read_image("one.png"))


@pytest.mark.usefixtures("folder")
def test_a_picture_without_a_frame_is_a_sheet_of_some():
    assert run("clip.mp4", "good.npz", "--out", "sheet.jpg") == 0
    assert run("clip.mp4", "good.npz", "--sheet", "2", "--zoom", "1", "--out", "two.png") == 0
    assert read_image("two.png").shape == (3, HEIGHT, 2 * WIDTH + 6)
    assert read_image("sheet.jpg").shape[1] > 2 * HEIGHT


@pytest.mark.usefixtures("folder")
def test_a_sheet_of_lines_leaves_out_the_frame_that_they_come_from():
    assert run("clip.mp4", "good.npz", "--lines", "--sheet", "1", "--out", "first.png") == 0
    assert run("clip.mp4", "good.npz", "--lines", "--frame", "1", "--out", "same.png") == 0
    assert torch.equal(read_image("first.png"), read_image("same.png"))
    for name, options in {"later": ("--start", "3"), "whole": ()}.items():
        assert run("clip.mp4", "good.npz", "--lines", *options, "--zoom", "1", "--out", f"{name}.png") == 0
    later, whole = (read_image(f"{name}.png").shape for name in ("later", "whole"))
    assert later != whole  # three frames, of which none is left out, and five of six
    assert later[1] * later[2] >= 3 * HEIGHT * (2 * WIDTH + 6)


@pytest.mark.usefixtures("folder")
def test_a_small_film_is_enlarged_to_be_seen():
    assert run("clip.mp4", "good.npz", "--out", "film.mp4") == 0
    assert probe("film.mp4").height == 288  # 48 px: the first multiple that is not below 256


@pytest.mark.usefixtures("folder")
def test_several_trackers_stand_beside_each_other_and_the_truth():
    films = ("good.npz", "worse.csv", "--zoom", "1")
    assert run("clip.mp4", *films, "--frame", "5", "--out", "two.png") == 0
    assert run("clip.mp4", *films, "--truth", "good.csv", "--frame", "5", "--out", "three.png") == 0
    assert (
        run(
            "clip.mp4",
            "worse.csv",
            "--truth",
            "good.npz",
            "--titles",
            "mine",
            "--zoom",
            "1",
            "--out",
            "film.mp4",
        )
        == 0
    )
    assert read_image("two.png").shape == (3, HEIGHT, 2 * WIDTH + 6)
    assert read_image("three.png").shape == (3, 2 * HEIGHT + 6, 2 * WIDTH + 6)
    assert probe("film.mp4").width == 2 * WIDTH + 6


@pytest.mark.usefixtures("folder")
def test_a_gif_moves():
    assert run("clip.mp4", "good.npz", "--zoom", "1", "--out", "film.gif") == 0
    with Image.open("film.gif") as film:
        assert film.n_frames == FRAMES and film.size == (WIDTH, HEIGHT)


@pytest.mark.usefixtures("folder")
def test_space_and_time_is_a_picture_or_a_film_that_swings(monkeypatch):
    monkeypatch.setattr("retracker.commands.block.FILM_FRAMES", 6)
    block = ("clip.mp4", "good.npz", "--spacetime", "3")
    assert run(*block) == 0
    shutil.move("clip_spacetime.png", "usual.png")
    assert run(*block, "--turn", "40", "--out", "forty.png") == 0
    assert run(*block, "--turn", "10", "--out", "ten.png") == 0
    assert torch.equal(read_image("usual.png"), read_image("forty.png"))
    assert max(read_image("usual.png").shape) == 1600 and read_image("ten.png").shape[1] > 700
    assert run(*block, "--turn", "20,60", "--out", "film.mp4") == 0
    film, swing = read_video("film.mp4")[0].float(), probe("film.mp4")
    assert swing.num_frames == 6 and swing.width == 960
    there_and_back = (film[1] - film[5]).abs().mean(), (film[0] - film[3]).abs().mean()
    assert there_and_back[0] < 2 and there_and_back[1] > 10
    assert run(*block, "--turn", "0.3,0.9", "--out", "film.gif") == 0  # 0.3 + (0.9 - 0.3) is more than 0.9
    assert run(*block, "--out", "film.gif") == 0
    with Image.open("film.gif") as gif:
        assert gif.n_frames == 6


def test_a_long_film_is_not_held_in_memory(folder):
    video = torch.zeros(1, 3, 270, 480, dtype=torch.uint8).expand(60, -1, -1, -1)
    write_video("long.mp4", video, fps=30)
    tracks = torch.rand(60, 4, 2) * 200
    seen = torch.ones(60, 4, dtype=torch.bool)
    save(folder / "tracks", TrackResult(tracks=tracks, visible=seen, confidence=seen.float()))
    tracemalloc.start()
    assert run("long.mp4", "tracks.npz", "--trail", "0", "--out", "out.mp4") == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 3 * 270 * 480  # numpy's share: half of all frames as bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4", "good.npz"], "nowhere.mp4: no such file"),
        (["clip.mp4", "nowhere.npz"], "nowhere.npz: no such file"),
        (["clip.mp4", "clip.mp4"], "clip.mp4: expected tracks in a .npz or a .csv file"),
        (["clip.mp4", "broken.npz"], "broken.npz: holds no tracks of retracker"),
        (["good.npz", "good.npz"], "good.npz: cannot be read as a video"),
        (["clip.mp4", "long.npz"], "long.npz: has 12 frames, more than the 6 of clip.mp4"),
        (["clip.mp4", "empty.npz"], "empty.npz: holds no frame"),
        (["clip.mp4", "foreign.npz"], "belongs to a video of 96 x 96 px, but clip.mp4 has 64 x 48"),
        (
            ["clip.mp4", "good.npz", "few.csv"],
            "few.csv: expected 6 frames and 12 points as in good.npz, got 6 and 5",
        ),
        (["clip.mp4", "good.npz", "--truth", "few.npz"], "few.npz: expected 6 frames and 12 points"),
        (["clip.mp4", "good.npz", "worse.npz", "--lines"], "--lines: expected one file of tracks"),
        (["clip.mp4", "good.npz", "--trail", "-3"], "--trail: expected a number of frames or all, got '-3'"),
        (["clip.mp4", "good.npz", "--trail", "long"], "--trail: expected a number of frames or all"),
        (["clip.mp4", "good.npz", "--colour", "mood"], "invalid choice: 'mood'"),
        (["clip.mp4", "good.npz", "--zoom", "0"], "--zoom: expected a whole factor"),
        (["clip.mp4", "good.npz", "--dim", "7"], "--dimming: expected a share from 0 to 1, got 7.0"),
        (["clip.mp4", "good.npz", "--frame", "6", "--out", "a.png"], "--frame: expected one of the 6 frames"),
        (["clip.mp4", "good.npz", "--frame", "1"], "--frame: expected --out with the name of a picture"),
        (["clip.mp4", "good.npz", "--sheet", "0", "--out", "a.png"], "--sheet: expected a positive number"),
        (
            ["clip.mp4", "good.npz", "--start", "4", "--end", "4"],
            "--start, --end: expected 0 <= start < end <= 6",
        ),
        (["clip.mp4", "good.npz", "--spacetime", "1"], "--spacetime: expected 2 to 40 frames, got 1"),
        (["clip.mp4", "good.npz", "--spacetime", "3", "--lines"], "--spacetime: expected no --lines"),
        (["clip.mp4", "good.npz", "worse.npz", "--spacetime", "3"], "expected one file of tracks, got 2"),
        (["clip.mp4", "good.npz", "--spacetime", "3", "--start", "5"], "two frames or more of the film"),
        (["clip.mp4", "good.npz", "--spacetime", "3", "--trail", "4"], "--spacetime: expected no --trail"),
        (["clip.mp4", "good.npz", "--spacetime", "3", "--zoom", "2"], "--spacetime: expected no --zoom"),
        (["clip.mp4", "good.npz", "--spacetime", "3", "--turn", "95"], "--turn: expected an angle from 0 to"),
        (["clip.mp4", "good.npz", "--spacetime", "3", "--turn", "left"], "--turn: expected an angle"),
        (["clip.mp4", "good.npz", "--spacetime", "3", "--turn", "10,60"], "--turn: expected an angle"),
        (
            ["clip.mp4", "good.npz", "--spacetime", "3", "--turn", "40", "--out", "a.gif"],
            "expected two angles",
        ),
        (["clip.mp4", "good.npz", "--turn", "30"], "--turn: expected --spacetime beside it"),
        (["clip.mp4", "good.npz", "--titles", "a,b"], "--titles: expected 1, got 2"),
        (["clip.mp4", "good.npz", "worse.npz", "--titles", "a,a"], "--titles: expected different ones"),
        (["clip.mp4", "good.npz", "--out", "film.avi"], "film.avi: expected the suffix of an image format"),
        (["clip.mp4", "good.npz", "--frob"], "unrecognized arguments: --frob"),
        (["clip.mp4"], "required: tracks"),
        (["clip.mp4", "good.npz", "--out", "clip.mp4"], "--out: clip.mp4 is read, and would be overwritten"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(folder, capsys, arguments, message):
    (folder / "broken.npz").write_bytes(b"PK not a zip")
    before = set(folder.iterdir())
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0], lines
    assert set(folder.iterdir()) == before


def test_a_gif_of_too_many_frames_is_refused(folder, capsys):
    num_frames = MOST_GIF_FRAMES + 1
    write_video(
        "long.mp4", torch.zeros(1, 3, 16, 16, dtype=torch.uint8).expand(num_frames, -1, -1, -1), fps=30
    )
    seen = torch.ones(num_frames, 1, dtype=torch.bool)
    save(
        folder / "tracks",
        TrackResult(tracks=torch.zeros(num_frames, 1, 2), visible=seen, confidence=seen.float()),
    )
    assert run("long.mp4", "tracks.npz", "--out", "out.gif") == 2
    assert "at most 300 frames in a GIF" in capsys.readouterr().err
