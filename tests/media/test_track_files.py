import csv

import numpy as np
import pytest
import torch

from retracker.media.track_files import (
    read_tracks,
    write_tracks_csv,
    write_tracks_deeplabcut,
    write_tracks_npz,
)
from retracker.types import TrackResult

QUERIES = torch.tensor([[0, 1.5, 2.5], [2, 10.25, 3.75]], dtype=torch.float64)


@pytest.fixture
def result():
    drawn = torch.Generator().manual_seed(0)
    confidence = torch.rand(4, 2, generator=drawn)
    confidence[:2, 1] = 0.0  # not born yet
    return TrackResult(
        tracks=1000 * torch.rand(4, 2, 2, generator=drawn) - 100,
        visible=confidence > 0.5,
        confidence=confidence,
        size=(48, 64),
        fps=29.97,
        times=torch.tensor([0.0, 0.04, 0.1, 0.12], dtype=torch.float64),
    )


def test_npz_comes_back_to_the_bit(result, tmp_path):
    write_tracks_npz(tmp_path / "tracks.npz", result, QUERIES, "clip.mp4")
    same(read_tracks(tmp_path / "tracks.npz"), result)
    with np.load(tmp_path / "tracks.npz") as stored:
        assert (stored["queries"] == QUERIES.numpy()).all() and str(stored["video"]) == "clip.mp4"


def test_what_is_not_known_is_left_out(result, tmp_path):
    unknown = TrackResult(tracks=result.tracks, visible=result.visible, confidence=result.confidence)
    write_tracks_npz(tmp_path / "tracks.npz", unknown, QUERIES, "frames")
    write_tracks_csv(tmp_path / "tracks.csv", unknown)
    for name in ("tracks.npz", "tracks.csv"):
        same(read_tracks(tmp_path / name), unknown)


def test_csv_comes_back_to_the_bit_but_for_size_and_rate(result, tmp_path):
    write_tracks_csv(tmp_path / "tracks.csv", result)
    back = read_tracks(tmp_path / "tracks.csv")
    assert back.size is None and back.fps is None
    for name in ("tracks", "visible", "confidence", "times"):
        assert torch.equal(getattr(back, name), getattr(result, name))
    assert back.first_frame.tolist() == [0, 2]


def test_the_order_of_lines_does_not_matter(result, tmp_path):
    write_tracks_csv(tmp_path / "tracks.csv", result)
    heading, *lines = (tmp_path / "tracks.csv").read_text().splitlines()
    (tmp_path / "mixed.csv").write_text("\n".join([heading, *lines[::-1]]))
    assert torch.equal(read_tracks(tmp_path / "mixed.csv").tracks, result.tracks)


def test_deeplabcut_has_three_headings_and_pixel_centres_at_whole_numbers(result, tmp_path):
    write_tracks_deeplabcut(tmp_path / "tracks.csv", result)
    with (tmp_path / "tracks.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["scorer"] + 6 * ["retracker"]
    assert rows[1] == ["bodyparts"] + 3 * ["point0"] + 3 * ["point1"]
    assert rows[2] == ["coords"] + 2 * ["x", "y", "likelihood"]
    assert [row[0] for row in rows[3:]] == ["0", "1", "2", "3"]
    numbers = torch.tensor([[float(cell) for cell in row[1:]] for row in rows[3:]]).view(4, 2, 3)
    torch.testing.assert_close(numbers[..., :2], result.tracks - 0.5)
    torch.testing.assert_close(numbers[..., 2], result.confidence)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"t,x,y\n0,1,2\n"),
        ("a.csv", b"frame,id,x,y,visible,confidence,time\n0,0,1,2,1,1,\n0,1,1,2,1,1,\n1,0,1,2,1,1,\n"),
        ("a.csv", b"frame,id,x,y,visible,confidence,time\n0,0,one,2,1,1,\n"),
        ("a.csv", b"\xff\xfe\x00"),
        ("a.npz", b"not a zip"),
        ("a.txt", b"0 0 1 2"),
    ],
)
def test_what_holds_no_tracks_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_tracks(tmp_path / name)


def test_an_array_alone_and_lengths_that_differ_are_refused(tmp_path):
    with (tmp_path / "alone.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    answers = {"tracks": np.zeros((3, 2, 2)), "visible": np.ones((3, 2)), "confidence": np.ones((3, 2))}
    np.savez(tmp_path / "frames.npz", **answers, frames=np.arange(4))
    np.savez(tmp_path / "size.npz", **answers, size=np.array(3))
    for name in ("alone", "frames", "size"):
        with pytest.raises(ValueError, match=f"{name}.npz: holds no tracks"):
            read_tracks(tmp_path / f"{name}.npz")


def test_arrays_that_do_not_agree_are_refused(tmp_path):
    np.savez(
        tmp_path / "a.npz", tracks=np.zeros((3, 2, 2)), visible=np.ones((3, 1)), confidence=np.ones((3, 1))
    )
    with pytest.raises(ValueError, match="do not agree"):
        read_tracks(tmp_path / "a.npz")


def same(one, other):
    for name in ("tracks", "visible", "confidence", "times"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None and b is None) or (a.dtype == b.dtype and torch.equal(a, b)), name
    assert (one.size if other.size else None) == other.size and one.fps == other.fps
