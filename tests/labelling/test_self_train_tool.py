"""tools/self_train.py from films to compared weights, and what it says of mistakes."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from retracker.media.image import write_image
from tests.labelling.toys import film, pan

TOOL = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "tools" / "self_train.py")))
SMALL = (
    "--teachers=lucas_kanade",
    "--frames=6",
    "--points=24",
    "--least-frames=3",
    "--held-out=0.5",
)
BRIEF = (
    "+debug=fast",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "data.window.num_frames=3",
    "data.transform.transforms.crop.size=[64,64]",
    "data.transform.transforms.points.num_points=5",
    "data.train.rendered.num_points=5",
    "data.val.size=64",
    "data.val.num_frames=4",
    "data.val.num_points=5",
    "callbacks.held_out.clips.num_points=5",
    "callbacks.held_out.clips.size=[64,64]",
)


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    (folder / "more").mkdir(parents=True)
    film(folder / "a.mp4", pan(12, seed=0))
    film(folder / "more" / "b.mp4", pan(12, seed=1))
    return folder


def test_films_become_labels_and_labels_become_weights(tmp_path, films, capsys):
    """A second run finds all of it done."""
    out = tmp_path / "out"
    command = ["run", str(films), "--out", str(out), "--steps", "3", "--grid", "3", *SMALL, *BRIEF]
    assert TOOL.main(command) == 0
    said = capsys.readouterr().out
    assert "2 films, 2 done to their end" in said and "trained 3 steps" in said
    last = out / "training" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3
    results = json.loads((out / "results.json").read_text())
    assert set(results) == {"lucas_kanade", "tiny", "checkpoints/last.ckpt"}
    assert results["lucas_kanade"]["<1 px of label %"] > 95  # who made the labels
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.suffix in (".npz", ".ckpt")}
    assert TOOL.main(command) == 0
    said = capsys.readouterr().out
    assert "trained" not in said and "compared already" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_share_of_a_process_is_every_nth_film(tmp_path, films):
    for part in ("1/2", "2/2"):
        assert TOOL.main(["label", str(films), "--out", str(tmp_path / "out"), *SMALL, "--part", part]) == 0
        assert len(list((tmp_path / "out" / "films").glob("*.json"))) == int(part[0])


def test_a_broken_film_is_named_and_the_others_are_labelled(tmp_path, films, capsys):
    (films / "broken.mp4").write_bytes(b"no film")
    assert TOOL.main(["label", str(films), "--out", str(tmp_path / "out"), *SMALL]) == 0
    captured = capsys.readouterr()
    assert "broken.mp4" in captured.err and "3 films, 2 done to their end in all, 1 damaged" in captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--teachers", "nobody"], "no checkpoint 'nobody'"),
        (["--teachers", ","], "at least one"),
        (["--teachers", "lucas_kanade", "--quorum", "2"], "2 teachers cannot agree"),
        (["--part", "3/2"], "a share such as 3/16"),
        (["--frames", "1"], "at least 2 frames"),
        (["--held-out", "1"], "a share from 0"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, films, capsys, words, message):
    asked = ["label", str(films), "--out", str(tmp_path / "out"), "--teachers", "lucas_kanade", *words]
    assert TOOL.main(asked) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_nothing_to_label_is_told(tmp_path, capsys):
    assert TOOL.main(["label", str(tmp_path), "--out", str(tmp_path / "out"), *SMALL]) == 2
    assert "holds no film" in capsys.readouterr().err
    assert TOOL.main(["label", str(tmp_path / "gone"), "--out", str(tmp_path / "out"), *SMALL]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_folder_of_films_and_pictures_is_ambiguous(tmp_path, films, capsys):
    write_image(films / "poster.png", pan(1)[0])
    assert TOOL.main(["label", str(films), "--out", str(tmp_path / "out"), *SMALL]) == 2
    assert "holds films and pictures" in capsys.readouterr().err


def test_labels_are_measured_against_the_truth_of_rendered_clips(capsys):
    words = ["--teachers=stay,lucas_kanade", "--groups=easy", "--clips=1", "--points=16", "--frames=5"]
    assert TOOL.main(["control", *words]) == 0
    said = capsys.readouterr().out
    assert "stay: seen" in said and "quorum 2" in said
