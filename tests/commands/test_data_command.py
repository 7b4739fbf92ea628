"""``retracker data``: what it says and writes, its exit codes, and one line for every mistake."""

import json

import numpy as np
import pytest

from retracker.__main__ import main
from retracker.configuration import config_dir
from retracker.data.datasets.synthetic import Synthetic
from retracker.media.image import read_image, write_image
from retracker.media.video import probe


@pytest.fixture(scope="module")
def rendered():
    """Two clips of 8 frames."""
    clips = Synthetic(length=2, difficulty="medium", num_frames=8, num_points=20, size=64, seed=0)
    return [clips[0], clips[1]]


@pytest.fixture
def root(tmp_path, monkeypatch, rendered):
    """Two recordings in the folder ``clips`` below the working directory."""
    monkeypatch.chdir(tmp_path)
    write_clips(tmp_path / "clips", rendered)
    return tmp_path / "clips"


def write_clips(folder, clips):
    for index, clip in enumerate(clips):
        for t, frame in enumerate(clip.video):
            write_image(folder / f"clip{index}" / f"{t:03d}.png", frame)
        np.savez(folder / f"clip{index}.npz", tracks=clip.tracks.numpy(), visible=clip.visible.numpy())


def only_line(captured):
    """The one line on stderr, which is no traceback."""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0], captured.err
    return lines[0]


def rows(captured):
    """What stands behind each word at the beginning of a line."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in captured.out.splitlines()}


def test_every_data_set_is_listed_with_what_it_is(capsys):
    assert main(["data", "list"]) == 0
    told = rows(capsys.readouterr())
    assert {file.stem for file in (config_dir() / "dataset").glob("*.yaml")} <= set(told)
    assert told["tracks_folder"].startswith("Your own videos")


def test_a_sound_data_set_is_told_in_numbers_and_shown(root, capsys):
    assert main(["data", "check", "tracks_folder", "clips", "--frames", "4"]) == 0
    told = capsys.readouterr()
    found = rows(told)
    assert found["there"] == "2 recordings in 1 scene, 16 frames"
    assert found["read"] == "2 recordings, 8 frames of 64 x 64"
    assert found["missing"] == found["broken"] == "nothing"
    assert max(map(len, told.out.splitlines())) <= 100 and "\x1b" not in told.out
    assert read_image(root.parent / "check_tracks_folder.png").shape[-1] > 1000


def test_what_is_missing_or_broken_is_named_and_the_exit_code_is_1(root, capsys):
    (root / "clip0" / "003.png").write_bytes(b"nonsense")
    arguments = ["--all", "--whole", "--json", "found/numbers.json", "--out", "sheets/sheet.png"]
    assert main(["data", "check", "tracks_folder", str(root), *arguments]) == 1
    told = capsys.readouterr().out
    assert "1 recording of those looked at cannot be read" in told
    assert "003.png: cannot be read as an image" in " ".join(told.split())
    numbers = json.loads((root.parent / "found" / "numbers.json").read_text())
    assert [fault["index"] for fault in numbers["faults"]] == [0] and not numbers["faults"][0]["missing"]
    assert numbers["items"] == 2 and numbers["items_read"] == 1 and numbers["labels"]["frames"] == 8
    assert (root.parent / "sheets" / "sheet.png").is_file()


def test_a_long_path_is_not_broken_in_two(root, capsys):
    far = root.parent / "/".join(["folder" * 5] * 5) / "clips"
    far.parent.mkdir(parents=True)
    root.rename(far)
    (far / "clip0" / "003.png").unlink()
    assert main(["data", "check", "tracks_folder", str(far)]) == 1
    assert f"{far}/clip0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "sheet.txt"], "sheet.txt: expected the suffix of an image"),
        (["--json", "clips/clip0.npz/x.json"], "--json: cannot make the folder"),
    ],
)
@pytest.mark.usefixtures("root")
def test_what_cannot_be_written_is_told_before_all_is_read(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("retracker.commands.data.inspect", None)
    assert main(["data", "check", "tracks_folder", "clips", *arguments]) == 2
    assert message in only_line(capsys.readouterr())


def test_nothing_readable_is_no_reason_to_fail_otherwise(root, capsys):
    for index in range(2):
        (root / f"clip{index}.npz").write_bytes(b"nonsense")
    assert main(["data", "check", "tracks_folder", "clips"]) == 1
    assert "sheet" not in rows(capsys.readouterr())
    assert not (root.parent / "check_tracks_folder.png").exists()


def test_many_faults_are_counted_and_only_some_listed(root, capsys):
    first = next(root.glob("*.npz"))
    for index in range(30):
        (root / f"bad{index}.npz").write_bytes(first.read_bytes()[:50])
        (root / f"bad{index}").mkdir()
        (root / f"bad{index}" / "0.png").write_bytes(b"")
    assert main(["data", "check", "tracks_folder", "clips"]) == 1
    told = capsys.readouterr().out
    assert "... and 18 more" in told and told.count("bad") < 40


def test_a_clip_is_written_with_its_labels_drawn(root, capsys):
    assert main(["data", "sample", "tracks_folder", "clips", "--index", "1", "--frames", "5"]) == 0
    film = probe(root.parent / "tracks_folder_1.mp4")
    assert film.num_frames == 5 and film.height >= 480
    assert "tracks_folder/clip1: 5 frames" in capsys.readouterr().out
    assert main(["data", "sample", "tracks_folder", "clips", "--start", "6", "--out", "some/clip.png"]) == 0
    assert (root.parent / "some" / "clip.png").is_file()


def test_pairs_are_shown_side_by_side_and_need_no_root(root, capsys):
    assert main(["data", "check", "synthetic_pairs", "size=48", "num_points=9", "--max", "1"]) == 0
    found = rows(capsys.readouterr())
    assert found["read"] == "1 clip, 2 frames of 48 x 48" and found["overlap"].endswith("%")
    assert main(["data", "sample", "synthetic_pairs", "size=48", "num_points=9"]) == 0
    assert (root.parent / "synthetic_pairs_0.png").is_file()


def test_without_a_root_a_data_set_is_looked_for_where_training_would(
    tmp_path, monkeypatch, rendered, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRACKER_DATA", "everything")
    write_clips(tmp_path / "everything" / "tracks_folder", rendered[:1])
    assert main(["data", "check", "tracks_folder"]) == 0
    assert rows(capsys.readouterr())["there"].startswith("1 recording ")


@pytest.mark.usefixtures("root")
def test_the_seed_chooses_what_is_read(capsys):
    found = []
    for seed in ("0", "0", "1", "2", "3"):
        main(["data", "check", "tracks_folder", "clips", "--max", "1", "--frames", "2", "--seed", seed])
        found.append(rows(capsys.readouterr())["labels"])
    assert found[0] == found[1] and len(set(found)) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere"], "nowhere: no such data set; known are"),
        (["check", "tracks_folder", "nowhere"], "nowhere: no such folder"),
        (["check", "tracks_folder", "empty"], "empty: has no"),
        (["check", "tracks_folder", "clips", "clips"], "expected one root, got clips and clips"),
        (["check", "tracks_folder", "clips", "splt=val"], "tracks_folder: has no key 'splt' to change, only"),
        (
            ["check", "megadepth", "clips", "index.max_pair=3"],
            "no key 'index.max_pair' to change, only root,",
        ),
        (["check", "synthetic", "size=big"], "synthetic: expected a value such as size=128, got 'size=big'"),
        (["check", "synthetic", "length=0"], "a length of at least 1, got 0"),
        (["check", "synthetic_val", "groups=[easy,odd]"], "synthetic_val has the groups"),
        (["check", "synthetic", "clips"], "synthetic: takes no folder, got clips"),
        (["check", "tracks_folder", "clips", "--max", "0"], "--max: expected a positive number, got 0"),
        (["check", "tracks_folder", "clips", "--frames", "-1"], "--frames: expected a positive number"),
        (["check", "tracks_folder", "clips", "--all", "--max", "3"], "not allowed with"),
        (["check", "tracks_folder", "clips", "--out", "sheet.xyz"], "expected the suffix of an image format"),
        (
            ["check", "tracks_folder", "clips", "--out", "file/sheet.png"],
            "--out: cannot make the folder",
        ),
        (["sample", "tracks_folder", "clips", "--index", "2"], "--index: expected 0 to 1, got 2"),
        (["sample", "tracks_folder", "clips", "--start", "8"], "has the frames 0 to 7, got 8"),
        (["sample", "tracks_folder", "clips", "--frob"], "unrecognized arguments: --frob"),
        (["check"], "required: dataset"),
        (["frob"], "invalid choice: 'frob'"),
        ([], "required: action"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(root, capsys, arguments, message):
    (root.parent / "empty").mkdir()
    (root.parent / "file").write_text("no folder")
    try:
        code = main(["data", *arguments])
    except SystemExit as leaving:
        code = leaving.code
    assert code == 2
    assert message in only_line(capsys.readouterr())
