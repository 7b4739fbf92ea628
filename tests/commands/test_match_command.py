"""``retracker match``: what it writes, lists of pairs, and one line for every mistake."""

import importlib.util
import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from retracker.__main__ import main
from retracker.checkpoint import build_net, save_safetensors
from retracker.commands.match_lists import read_pairs, stems
from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic
from retracker.media.image import read_image, write_image


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory):
    """A folder with two images, a grey one, and a tiny net of random weights that calls all visible."""
    folder = tmp_path_factory.mktemp("ingredients")
    video = Synthetic(length=1, difficulty="easy", num_frames=5, num_points=2, size=64, seed=0)[0].video
    write_image(folder / "a.png", video[0])
    write_image(folder / "b.png", video[3, :, :48])
    write_image(folder / "grey.png", torch.full((3, 64, 64), 77, dtype=torch.uint8))
    (folder / "text.png").write_text("not an image")
    config = OmegaConf.to_container(compose_config("train", []).model)
    config |= {"image_size": 64, "visible_threshold": -1.0}
    torch.manual_seed(0)
    save_safetensors(build_net(config), config, folder / "net.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path, ingredients, monkeypatch):
    """A copy of them that a test may write into, and where it stands."""
    shutil.copytree(ingredients, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    """The exit code, however the command leaves."""
    try:
        return main(["match", *arguments, "--ckpt", "net.safetensors", "--out", "out"])
    except SystemExit as leaving:
        return leaving.code


def test_given_points_are_matched_from_the_line_or_a_file(folder):
    (folder / "points.csv").write_text("x,y\n10.5,20\n\n30,40.25\n")
    found = []
    for source in (["--points", "10.5,20;30,40.25"], ["--queries", "points.csv"]):
        assert run("a.png", "b.png", *source, "--save", "npz") == 0
        arrays = np.load("out/a_b_matches.npz")
        assert arrays["size_a"].tolist() == [64, 64] and arrays["size_b"].tolist() == [48, 64]
        assert arrays["images"].tolist() == ["a.png", "b.png"]
        given = np.array([[10.5, 20], [30, 40.25]], dtype=np.float32)
        np.testing.assert_array_equal(arrays["points_a"], given[arrays["index"]])
        found.append(arrays["points_b"])
    np.testing.assert_array_equal(*found)


@pytest.mark.usefixtures("folder")
def test_where_given_points_were_found_is_told(capsys):
    assert run("a.png", "a.png", "--points", "10.5,20;30,40.25", "--save", "npz") == 0
    told = capsys.readouterr().out.splitlines()
    found = np.load("out/a_a_matches.npz")
    for row, (x, y) in zip(found["index"], found["points_b"], strict=True):
        assert told[1 + row].startswith(f"({('10.5, 20', '30, 40.25')[row]}): ({x:.2f}, {y:.2f}), confidence")
    assert run("grey.png", "a.png", "--points", "5,6", "--save", "npz") == 0
    assert "(5, 6): not found\n" in capsys.readouterr().out
    assert run("a.png", "a.png", "--points", "10.5,20;30,40.25", "--num", "1", "--save", "npz") == 0
    assert capsys.readouterr().out.count(": not found, or not in the sample\n") == 1
    assert run("a.png", "a.png", "--points", "10.5,20", "--mutual", "--save", "npz") == 0
    assert "\n(10.5, 20): " in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_matches_may_be_asked_to_be_more_probable(capsys):
    assert run("a.png", "a.png", "--grid", "3", "--match-threshold", "1", "--save", "npz") == 0
    assert "0 matches" in capsys.readouterr().out  # this net's own threshold: all 9


@pytest.mark.usefixtures("folder")
def test_corners_are_matched_where_asked_for():
    assert run("a.png", "b.png", "--corners", "40", "--save", "npz") == 0
    found = np.load("out/a_b_matches.npz")["points_a"]
    assert 0 < len(found) <= 40 and (found % 1 == 0.5).all()  # centres of pixels


@pytest.mark.usefixtures("folder")
def test_a_geometry_is_told_written_and_drawn(capsys):
    assert run("a.png", "a.png", "--grid", "6", "--geometry", "homography", "--threshold", "60") == 0
    told = capsys.readouterr().out
    arrays = np.load("out/a_a_matches.npz")
    assert f"{arrays['inliers'].sum()} inliers (homography, magsac, 60 px)" in told
    assert arrays["inliers"].shape == arrays["confidence"].shape and arrays["matrix"].shape == (3, 3)
    assert (str(arrays["kind"]), float(arrays["threshold_px"])) == ("homography", 60.0)
    assert "rotation" not in arrays
    picture = read_image("out/a_a_matches.png").permute(1, 2, 0)
    assert ((picture == torch.tensor([70, 225, 95], dtype=torch.uint8)).all(-1)).any()  # an inlier's green


@pytest.mark.usefixtures("folder")
def test_an_essential_matrix_takes_one_camera_for_images_of_one_size(capsys):
    # PoseLib finds a motion even between an image and itself.
    asked = ["--geometry", "essential", "--solver", "poselib", "--camera-a", "60,60,32,32", "--save", "npz"]
    assert run("a.png", "a.png", "--grid", "6", *asked, "--threshold", "30") == 0
    assert np.load("out/a_a_matches.npz")["rotation"].shape == (3, 3)
    assert run("a.png", "b.png", "--grid", "6", *asked) == 2
    assert "--camera-b: expected one, since the images are not of one size" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_matches_that_agree_on_nothing_are_told_and_kept(capsys):
    asked = ["--points", "9,9;20,30", "--geometry", "fundamental", "--save", "npz,png"]
    assert run("a.png", "b.png", *asked) == 0
    assert "no fundamental geometry: " in capsys.readouterr().out
    arrays = np.load("out/a_b_matches.npz")
    assert not arrays["inliers"].any() and len(arrays["inliers"]) == len(arrays["index"])
    assert "matrix" not in arrays


@pytest.mark.usefixtures("folder")
def test_a_sample_is_as_large_as_asked():
    assert run("a.png", "b.png", "--grid", "6", "--num", "7", "--save", "npz") == 0
    assert len(np.load("out/a_b_matches.npz")["points_a"]) == 7


@pytest.mark.usefixtures("folder")
def test_a_warp_is_written_and_drawn():
    assert run("a.png", "b.png", "--grid", "2", "--warp", "--warp-grid", "3") == 0
    arrays = np.load("out/a_b_warp.npz")
    assert arrays["positions"].shape == arrays["flow"].shape == (3, 3, 2)
    assert arrays["certainty"].shape == (3, 3)
    np.testing.assert_allclose(arrays["start"] + arrays["flow"], arrays["positions"], atol=1e-4)
    np.testing.assert_allclose(arrays["start"][0, 0], [64 / 6, 64 / 6], rtol=1e-6)
    height, width = read_image("out/a_b_warp.png").shape[1:]
    assert width > 3 * 360 and height > 360


@pytest.mark.usefixtures("folder")
def test_an_image_of_one_colour_is_told_and_no_mistake(capsys):
    assert (
        run("grey.png", "a.png", "--grid", "3", "--geometry", "homography", "--warp", "--warp-grid", "2") == 0
    )
    told = capsys.readouterr().out
    assert "0 matches of grey.png in a.png" in told
    assert "grey.png is of one colour: there is nothing in it to match" in told
    assert "a.png is of one colour" not in told.replace("grey.png is", "")
    assert len(np.load("out/grey_a_matches.npz")["points_a"]) == 0
    assert not np.load("out/grey_a_warp.npz")["certainty"].any()


def test_a_list_goes_on_after_a_broken_pair_and_says_so(folder, capsys):
    (folder / "lists").mkdir()
    lines = ["../a.png ../b.png  # near", "", "../a.png ../nowhere.png", "../text.png ../a.png", "../a.png"]
    (folder / "lists" / "pairs.txt").write_text("\n".join([*lines, "../b.png ../a.png", "../a.png ../b.png"]))
    assert run("--pairs", "lists/pairs.txt", "--grid", "3", "--save", "npz") == 2
    captured = capsys.readouterr()
    errors = captured.err.strip().splitlines()
    assert [error.split(": ")[1] for error in errors] == [f"lists/pairs.txt, line {n}" for n in (3, 4, 5)]
    assert "nowhere.png: no such file" in errors[0] and "text.png: cannot be read" in errors[1]
    assert "expected two images, A B, got 1" in errors[2] and "Traceback" not in captured.err
    assert "3 of 6 pairs matched" in captured.out
    written = sorted(path.name for path in (folder / "out").iterdir())
    assert written == ["a_b_2_matches.npz", "a_b_matches.npz", "b_a_matches.npz"]
    first, last = (np.load(f"out/{name}") for name in ("a_b_matches.npz", "a_b_2_matches.npz"))
    np.testing.assert_array_equal(first["points_b"], last["points_b"])


def test_a_whole_list_ends_well(folder):
    (folder / "pairs.txt").write_text("a.png b.png\n")
    assert run("--pairs", "pairs.txt", "--grid", "2", "--save", "npz") == 0


def test_names_of_a_list_may_hold_blanks_and_results_have_names_of_their_own(tmp_path):
    named = [
        "'my a.png' \"my b.png\"",
        "it's.png c.png",
        "# nothing",
        "x/a.png b.png",
        "y/a.jpg b.png  # two",
    ]
    (tmp_path / "pairs.txt").write_text("\n".join([*named, "a_b_2.png"]))
    lines = read_pairs(tmp_path / "pairs.txt")
    assert [line.number for line in lines] == [1, 2, 4, 5, 6]
    assert lines[0].paths() == (tmp_path / "my a.png", tmp_path / "my b.png")
    assert lines[1].words[:2] == ("it's.png", "c.png")
    assert stems(lines)[2:] == ["a_b", "a_b_2", "a_b_2_2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png"], "required: image_b (or --pairs)"),
        ([], "required: image_a, image_b (or --pairs)"),
        (["a.png", "b.png", "--pairs", "pairs.txt"], "--pairs: names the images itself"),
        (["--pairs", "pairs.txt", "--points", "1,2"], "--pairs: matches grids or corners"),
        (["--pairs", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--pairs", "blank.txt"], "blank.txt: holds no pairs, expected lines of two images: A B"),
        (["--pairs", "a.png"], "a.png: is not a text file of pairs"),
        (["a.png", "b.png", "--points", "65,3"], "query 0 at (65, 3) lies outside the frame of 64 x 64 px"),
        (["a.png", "b.png", "--points", "1,2;nan,3"], "--points, point 1: expected finite numbers x,y"),
        (["a.png", "b.png", "--points", "1,2,3"], "--points, point 0: expected two numbers x,y, got '1,2,3'"),
        (["a.png", "b.png", "--points", ";"], '--points: expected "x,y;x,y;..."'),
        (["a.png", "b.png", "--points", "1,2", "--grid", "3"], "not allowed with"),
        (["a.png", "b.png", "--queries", "txy.csv"], "txy.csv, line 1: expected two numbers x,y"),
        (["a.png", "b.png", "--corners", "0"], "--corners: expected a positive number, got 0"),
        (["a.png", "b.png", "--num", "0"], "--num: expected a positive number, got 0"),
        (
            ["a.png", "b.png", "--match-threshold", "2"],
            "--match-threshold: expected a number from 0 to 1, got 2",
        ),
        (
            ["a.png", "b.png", "--warp", "--warp-grid", "-1"],
            "--warp-grid: expected a positive number, got -1",
        ),
        (["a.png", "b.png", "--warp-grid", "4"], "--warp-grid: of --warp, which is not given"),
        (["a.png", "b.png", "--threshold", "2"], "--threshold: of --geometry, which is not given"),
        (["a.png", "b.png", "--solver", "ransac"], "--solver: of --geometry, which is not given"),
        (["a.png", "b.png", "--image-size", "31"], "--image-size: expected 32 px or more, got 31"),
        (["a.png", "b.png", "--solver", "lmeds"], "argument --solver: invalid choice: 'lmeds'"),
        (["a.png", "b.png", "--geometry", "affine"], "argument --geometry: invalid choice: 'affine'"),
        (["a.png", "b.png", "--geometry", "essential"], "expected --camera-a fx,fy,cx,cy"),
        (["a.png", "b.png", "--camera-a", "1,1,1,1"], "expected only with --geometry essential"),
        (
            ["a.png", "b.png", "--geometry", "essential", "--camera-a", "1,2,3"],
            "--camera-a: expected four numbers fx,fy,cx,cy, got '1,2,3'",
        ),
        (
            ["a.png", "b.png", "--geometry", "essential", "--camera-a", "0,2,3,4"],
            "camera: expected fx,fy,cx,cy in px, fx and fy positive, got [0.0, 2.0, 3.0, 4.0]",
        ),
        (
            ["a.png", "b.png", "--geometry", "homography", "--threshold", "nan"],
            "threshold: expected a positive",
        ),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(folder, capsys, arguments, message):
    (folder / "pairs.txt").write_text("a.png b.png\n")
    (folder / "blank.txt").write_text("\n# nothing yet\n")
    (folder / "txy.csv").write_text("0,5,5\n")
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0] and "Traceback" not in lines[0]


@pytest.mark.usefixtures("folder")
def test_poselib_that_is_missing_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert run("a.png", "b.png", "--geometry", "homography", "--solver", "poselib") == 2
    assert "poselib is not installed" in capsys.readouterr().err
