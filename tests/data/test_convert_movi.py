"""tools/convert_movi.py on examples as tensorflow_datasets hands them over, without TensorFlow."""

import runpy
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from movi_scene import example_of, record, usual

from retracker.data.datasets.movi import Movi
from retracker.data.movi_tracks import MoviClip, derive_tracks

TOOL = Path(__file__).parents[2] / "tools" / "convert_movi.py"
POINTS = 60


class OpError(Exception):
    """As TensorFlow's."""

    message = "truncated record\nat 0"


class NoDataSet(ValueError):
    pass


def tensorflow_datasets(clips):
    """As much of tensorflow_datasets as the tool asks for, around examples in memory."""

    class Builder:
        info = SimpleNamespace(splits={"train": SimpleNamespace(num_examples=len(clips))})

        def as_dataset(self, *, split, shuffle_files, decoders, read_config):
            assert not shuffle_files and "depth" in decoders and read_config["interleave_cycle_length"] == 1
            first, last = split.removeprefix("train[").removesuffix("]").split(":")
            return clips[int(first) : int(last)]

    def builder(name, data_dir):
        if data_dir != "bucket":
            raise NoDataSet(f"{name}: a long list of all data sets in the world")
        return Builder()

    def as_numpy(found):
        for clip in found:
            if clip is None:
                raise OpError
            yield example_of(clip)

    return SimpleNamespace(
        builder=builder,
        as_numpy=as_numpy,
        decode=SimpleNamespace(PartialDecoding=lambda features: features),
        ReadConfig=lambda **settings: settings,
        core=SimpleNamespace(DatasetNotFoundError=NoDataSet),
    )


@pytest.fixture(scope="module")
def clips():
    worlds = [usual(frames=8, height=64, width=64) for _ in range(3)]
    return [record(replace(w, eye=w.eye + [0.2 * i, 0, 0])) for i, w in enumerate(worlds)]


@pytest.fixture
def convert(clips, monkeypatch, tmp_path):
    """Run the tool on those clips; gives its exit code."""

    def run(*options, found=clips, source="bucket"):
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", tensorflow_datasets(found))
        monkeypatch.setitem(
            sys.modules, "tensorflow", SimpleNamespace(errors=SimpleNamespace(OpError=OpError))
        )
        main = runpy.run_path(str(TOOL))["main"]
        arguments = ["movi/64x64", str(tmp_path / "out"), "--source", source, "--points", str(POINTS)]
        return main([*arguments, *options])

    return run


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_converted_set_is_read_with_its_frames_and_tracks(convert, clips, tmp_path, capsys):
    assert convert() == 0
    read = Movi(str(tmp_path / "out"), name="movi_e", split="train")
    assert len(read) == len(clips)
    for index, clip in enumerate(clips):
        sample = read[index]
        tracks, visible = derive_tracks(clip, POINTS, np.random.default_rng((0, index)))
        assert sample.name == f"movi_e/train/{index:05d}"
        assert np.array_equal(sample.video.permute(0, 2, 3, 1), clip.video)
        assert np.array_equal(sample.tracks[sample.located], tracks[~np.isnan(tracks).any(-1)])
        assert np.array_equal(sample.visible, visible) and sample.labelled.all()
        assert np.array_equal(sample.located, ~np.isnan(tracks).any(-1))
    assert len({read.scene(index) for index in range(len(read))}) == len(read)
    assert "3 clips written" in capsys.readouterr().out


def test_what_is_finished_is_not_made_again_and_nothing_else_changes_it(convert, tmp_path, capsys):
    assert convert("--limit", "2") == 0
    first = contents(tmp_path / "out")
    assert convert() == 0
    everything = contents(tmp_path / "out")
    assert first.items() <= everything.items() and len(everything) == 3 * 9
    assert "2 of 3 clips are there already" in capsys.readouterr().out
    for path in [p for p in everything if "00001" in str(p)]:
        path.unlink()
    assert convert() == 0 and contents(tmp_path / "out") == everything


def test_a_clip_without_labels_is_not_finished(convert, tmp_path):
    """Frames are written first: a run that stops among them leaves no clip that a reader would find."""
    assert convert("--limit", "1") == 0
    everything = contents(tmp_path / "out")
    (tmp_path / "out" / "train" / "00000.npz").unlink()
    with pytest.raises(ValueError, match=r"has no <clip>\.npz"):
        Movi(str(tmp_path / "out"), name="movi_e", split="train")
    assert convert("--limit", "1") == 0 and contents(tmp_path / "out") == everything


def test_a_record_that_breaks_off_keeps_what_came_before(convert, clips, tmp_path, capsys):
    assert convert(found=[clips[0], None, clips[2]]) == 2
    assert capsys.readouterr().err == "convert_movi: bucket/movi/64x64: cannot be read: truncated record\n"
    assert [path.name for path in (tmp_path / "out" / "train").glob("*.npz")] == ["00000.npz"]


@pytest.mark.parametrize(
    ("options", "source", "words"),
    [
        (["--split", "dev"], "bucket", "has no split 'dev', only train"),
        ([], "elsewhere", "elsewhere: has no data set movi/64x64"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(convert, capsys, options, source, words):
    assert convert(*options, source=source) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_without_tensorflow_one_line_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # as if it were not installed
    main = runpy.run_path(str(TOOL))["main"]
    assert main(["movi_e/256x256", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "pip install tensorflow tensorflow_datasets" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_example_is_taken_apart_as_it_is_stored(clips):
    clip_of = runpy.run_path(str(TOOL))["clip_of"]
    found = clip_of(example_of(clips[0]), "movi/64x64")
    for field in fields(MoviClip):
        assert np.array_equal(getattr(found, field.name), getattr(clips[0], field.name)), field.name


@pytest.mark.parametrize(
    ("name", "width", "centre"),
    [("movi_e/256x256", 256, 0.5), ("movi_f/256x256", 256, 0.25), ("movi_f/128x128", 128, 0.375)],
)
def test_a_smaller_set_has_its_labels_beside_the_centre(name, width, centre):
    assert runpy.run_path(str(TOOL))["label_centre"](name, width) == centre


def test_a_size_that_the_set_does_not_come_in_is_refused():
    with pytest.raises(ValueError, match="movi_e/64x64: expected frames 256 px wide, or a whole part"):
        runpy.run_path(str(TOOL))["label_centre"]("movi_e/64x64", 300)


def test_work_is_cut_into_runs_of_missing_clips(tmp_path):
    gaps = runpy.run_path(str(TOOL))["gaps"]
    assert gaps(tmp_path / "none", 20) == [(0, 16), (16, 4)]
    for index in (2, 3, 7):
        (tmp_path / f"{index:05d}.npz").touch()
    assert gaps(tmp_path, 10) == [(0, 2), (4, 3), (8, 2)]
