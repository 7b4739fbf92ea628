"""Films in, labelled clips out: what is written, what is not done twice, what is damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.labelling.agreement import Agreement, Labels
from retracker.labelling.cutting import Cutting
from retracker.labelling.folder import LabelFolder, as_film
from retracker.labelling.labeller import Labeller, Recipe, stored
from retracker.labelling.testimony import Checks
from retracker.media.image import write_image
from tests.labelling.toys import film, pan, stays, teacher

RECIPE = Recipe(
    cutting=Cutting(num_frames=6, stride=6),
    points=12,
    most_clips=None,
    max_size=1000,
    size=1000,
    least_points=1,
    held_out=0.25,
    checks=Checks(cycle_px=2.0, confidence=0.5, attempts=2),
    agreement=Agreement(agree_px=1.0, quorum=1, least_frames=2),
    seed=0,
)


@pytest.fixture
def movie(tmp_path):
    """24 frames in two shots; a clip begins at 0, 6, 12 (after the cut) and 18 (held out)."""
    return film(tmp_path / "movie.mp4", pan(12, seed=0), pan(12, seed=1) // 2)


def labelled(root, movie, method=None, recipe=RECIPE, seen=None):
    folder = LabelFolder(root, {"recipe": 1})
    maker = Labeller({"stay": method or teacher(stays)}, recipe, folder)
    maker.label(as_film(movie), seen or (lambda: None))
    return folder


def written(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.*")}


def firsts(root, part):
    return [int(path.stem) for path in sorted((root / part).glob("*/*.npz"))]


def test_clips_are_what_tracks_folder_reads_and_the_end_is_held_out(tmp_path, movie):
    labelled(tmp_path / "out", movie)
    assert firsts(tmp_path / "out", "train") == [0, 6, 12]
    assert firsts(tmp_path / "out", "held_out") == [18]
    clips = TracksFolder(str(tmp_path / "out" / "train"))
    sample = clips[0]
    assert sample.video.shape == (6, 3, 64, 80) and sample.visible.all() and sample.located.all()
    grey = (x.float().mean(1) for x in (sample.video, pan(12)[:6]))
    assert (next(grey) - next(grey)).abs().mean() < 8  # compressed twice
    assert clips.scene(0) == clips.scene(2)  # one film


def test_what_is_done_is_not_done_again(tmp_path, movie):
    folder = labelled(tmp_path / "out", movie)
    before = written(tmp_path / "out")

    def never(*asked):
        raise AssertionError(f"asked again: {asked}")

    maker = Labeller({"stay": never}, RECIPE, folder)
    maker.label(as_film(movie), lambda: None)
    assert written(tmp_path / "out") == before


class Killed(Exception):
    """What nobody is prepared for."""


def test_a_run_that_is_killed_goes_on_and_ends_as_an_unbroken_one(tmp_path, movie):
    labelled(tmp_path / "unbroken", movie)
    calls = []

    def dies(video, queries):
        calls.append(len(video))
        if len(calls) > 5:  # in the second clip
            raise Killed
        return teacher(stays)(video, queries)

    with pytest.raises(Killed):
        labelled(tmp_path / "broken", movie, dies)
    assert firsts(tmp_path / "broken", "train") == [0]
    left = next((tmp_path / "broken" / "train").glob("*/000000.npz")).stat().st_mtime_ns
    labelled(tmp_path / "broken", movie)
    assert next((tmp_path / "broken" / "train").glob("*/000000.npz")).stat().st_mtime_ns == left
    both = [written(tmp_path / name) for name in ("unbroken", "broken")]
    assert both[0].keys() == both[1].keys()
    assert {name for name in both[0] if both[0][name] != both[1][name]} <= {
        name
        for name in both[0]
        if name.endswith(".npz")  # archives hold the time they were made at
    }
    for name in (name for name in both[0] if name.endswith(".npz")):
        stored_arrays = [np.load(tmp_path / run / name) for run in ("unbroken", "broken")]
        for array in stored_arrays[0].files:
            np.testing.assert_array_equal(*(arrays[array] for arrays in stored_arrays))


def test_another_seed_asks_for_other_points(tmp_path, movie):
    for seed in (0, 1):
        labelled(tmp_path / str(seed), movie, recipe=replace(RECIPE, seed=seed))
    first, second = (TracksFolder(str(tmp_path / name / "train"))[0].tracks for name in "01")
    assert first.shape != second.shape or not torch.equal(first, second)


def test_only_so_many_clips_spread_over_the_film(tmp_path, movie):
    labelled(tmp_path / "out", movie, recipe=replace(RECIPE, most_clips=2, held_out=0.0))
    assert firsts(tmp_path / "out", "train") == [0, 12]


def test_why_a_clip_was_not_kept_is_written_down(tmp_path):
    dull = film(tmp_path / "dull.mp4", torch.zeros(12, 3, 64, 80, dtype=torch.uint8), pan(6))
    blind = teacher(stays, seen=lambda query, s: s == query[0])
    labelled(tmp_path / "out", dull, blind, replace(RECIPE, held_out=0.0))
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "train").glob("*/*.json"))]
    assert [record["outcome"] for record in records] == ["blank", "blank", "too few points"]
    assert records[2]["kept points"] == 0
    assert records[2]["places"]["no way back"] + records[2]["places"]["unseen"] == 6 * records[2]["points"]


def test_a_damaged_film_keeps_the_clips_before_the_damage_and_is_not_done(tmp_path):
    for t, frame in enumerate(pan(16)):
        write_image(tmp_path / "frames" / f"{t}.png", frame)
    (tmp_path / "frames" / "9.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"9\.png"):
        labelled(tmp_path / "out", tmp_path / "frames")
    assert firsts(tmp_path / "out", "train") == [0] and not (tmp_path / "out" / "films").exists()


def test_labels_of_other_settings_are_not_mixed_in(tmp_path):
    LabelFolder(tmp_path, {"teachers": "tiny", "points": 12})
    LabelFolder(tmp_path, {"teachers": "tiny", "points": 12})
    with pytest.raises(ValueError, match="holds labels made with points=12, not 24"):
        LabelFolder(tmp_path, {"teachers": "tiny", "points": 24})


def test_a_film_is_known_by_its_content(tmp_path, movie):
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    (copy / "movie.mp4").write_bytes(movie.read_bytes())
    other = film(tmp_path / "other.mp4", pan(6, seed=5))
    assert as_film(copy / "movie.mp4").name == as_film(movie).name
    assert as_film(other).number != as_film(movie).number


def test_a_stored_clip_is_smaller_even_and_its_labels_move_with_it():
    video = pan(2, size=(101, 203))
    here = torch.tensor([[[101.5, 50.5]], [[203.0, 101.0]]])
    known = torch.ones(2, 1, dtype=torch.bool)
    labels = Labels(tracks=here, visible=known, labelled=known, located=known)
    small, moved = stored(video, labels, 72)
    assert small.shape[-2:] == (50, 102)  # half of it
    torch.testing.assert_close(moved.tracks[:, 0], torch.tensor([[51.0, 25.0], [102.0, 50.0]]))
    same, unmoved = stored(video, labels, 500)
    assert same.shape == video.shape and torch.equal(unmoved.tracks, here)


def test_more_votes_than_teachers_are_refused(tmp_path):
    rule = replace(RECIPE, agreement=replace(RECIPE.agreement, quorum=2))
    with pytest.raises(ValueError, match="2 teachers cannot agree where there are 1"):
        Labeller({"stay": teacher(stays)}, rule, LabelFolder(tmp_path, {}))
