"""Tracking from the page: the same answers as from Python, and corrections that touch nothing else."""

import time
from dataclasses import replace

import numpy as np
import torch

from retracker.demo.session import Session, open_clip
from retracker.demo.worker import Worker
from retracker.inference.clip import track
from retracker.media.track_files import read_tracks
from retracker.media.video import probe

NUM_FRAMES = 6  # of the clip
CLICKS = [[40.5, 30.25], [100.0, 60.0]]


def known(result, n):
    """The frames in which there is an answer of point ``n``."""
    return (result.confidence[:, n] > 0).nonzero()[:, 0].tolist()


def test_tracks_are_those_of_python_to_the_bit(page, net, clip, tmp_path):
    page.ask("POST", "/points", {"t": 2, "points": CLICKS})
    page.ask("POST", "/points", {"t": 0, "grid": 2})
    progress = page.track()
    assert (progress["condition"], progress["done"], progress["total"]) == ("done", NUM_FRAMES, NUM_FRAMES)
    found = read_tracks(page.download("npz", tmp_path))
    grid = [[0, 32, 24], [0, 96, 24], [0, 32, 72], [0, 96, 72]]
    queries = torch.tensor([[2, *xy] for xy in CLICKS] + grid, dtype=torch.float64)
    expected = track(net, clip, queries)
    born = torch.arange(NUM_FRAMES)[:, None] >= queries[:, 0]
    assert torch.equal(found.tracks[born], expected.tracks[born])
    assert torch.equal(found.visible, expected.visible)
    assert torch.equal(found.confidence, expected.confidence)
    assert torch.equal(found.tracks[1, 0], torch.tensor(CLICKS[0]))  # before its birth a point is its query
    assert np.array_equal(np.load(tmp_path / "tracks.npz")["queries"], queries)


def test_backwards_too_is_what_python_calls_backward(page, net, clip, tmp_path):
    page.ask("POST", "/points", {"t": 3, "points": CLICKS})
    progress = page.track(backward=True)
    assert progress["total"] == (NUM_FRAMES - 3) + 4
    found = read_tracks(page.download("npz", tmp_path))
    expected = track(net, clip, [[3, *xy] for xy in CLICKS], backward=True)
    for name in ("tracks", "visible", "confidence"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_a_correction_changes_this_point_from_there_on_and_nothing_else(page, net, clip, tmp_path):
    page.ask("POST", "/points", {"t": 1, "points": [*CLICKS, [70.0, 20.0]]})
    page.track()
    before = read_tracks(page.download("npz", tmp_path))
    place = [90.0, 40.0]
    reply = page.ask("PUT", "/points/2", {"t": 4, "xy": place})
    assert [point["id"] for point in reply["changed"]] == [2]
    assert reply["changed"][0]["t"] == [1, 2, 3, 4]
    assert reply["changed"][0]["anchors"] == [[1, *CLICKS[1]], [4, *place]]
    assert page.track()["total"] == NUM_FRAMES - 4  # no frame before is looked at again
    after = read_tracks(page.download("npz", tmp_path))
    fresh = track(net, clip, [[4, *place]])
    for name in ("tracks", "visible", "confidence"):
        old, new = getattr(before, name), getattr(after, name)
        assert torch.equal(old[:, [0, 2]], new[:, [0, 2]]), name
        assert torch.equal(old[:4, 1], new[:4, 1]), name
        assert torch.equal(getattr(fresh, name)[4:, 0], new[4:, 1]), name
    assert not torch.equal(before.tracks[4:, 1], after.tracks[4:, 1])


def test_a_point_put_right_before_it_is_tracked_goes_through_both_places(page, net, clip, tmp_path):
    page.ask("POST", "/points", {"t": 0, "points": CLICKS[:1]})
    page.ask("PUT", "/points/1", {"t": 3, "xy": [60.0, 50.0]})
    page.track()
    found = read_tracks(page.download("npz", tmp_path))
    assert torch.equal(found.tracks[:3, 0], track(net, clip, [[0, *CLICKS[0]]]).tracks[:3, 0])
    assert torch.equal(found.tracks[3:, 0], track(net, clip, [[3, 60.0, 50.0]]).tracks[3:, 0])
    assert known(found, 0) == list(range(NUM_FRAMES))


def test_a_point_that_is_moved_at_its_birth_or_before_is_born_there(page):
    page.ask("POST", "/points", {"t": 3, "points": CLICKS[:1]})
    moved = page.ask("PUT", "/points/1", {"t": 3, "xy": [5.0, 6.0]})["changed"][0]
    assert (moved["anchors"], moved["t"]) == ([[3, 5.0, 6.0]], [3])
    earlier = page.ask("PUT", "/points/1", {"t": 1, "xy": [7.0, 8.0]})["changed"][0]
    assert (earlier["anchors"], earlier["t"]) == ([[1, 7.0, 8.0]], [1])


def test_only_what_is_new_is_tracked(page):
    page.ask("POST", "/points", {"t": 0, "points": CLICKS[:1]})
    page.track()
    page.ask("POST", "/points", {"t": 4, "points": CLICKS[1:]})
    progress = page.track()
    assert [(found["t"], found["ids"]) for found in progress["found"]] == [(4, [2]), (5, [2])]
    assert "nothing to track" in page.ask("POST", "/track", {}, status=409)["error"]


def test_undo_takes_changes_back_but_not_what_was_found_since(page):
    page.ask("POST", "/points", {"t": 0, "points": CLICKS[:1]})
    page.ask("POST", "/points", {"t": 0, "grid": 3})
    page.track()
    undone = page.ask("POST", "/undo")
    assert (undone["order"], undone["changed"]) == ([1], [])
    assert page.ask("GET")["changed"][0]["t"] == list(range(NUM_FRAMES))
    page.ask("PUT", "/points/1", {"t": 4, "xy": [1.0, 2.0]})
    assert page.ask("POST", "/undo")["changed"][0]["t"] == list(range(NUM_FRAMES))
    page.ask("DELETE", "/points/1")
    assert page.ask("POST", "/undo")["order"] == [1]
    page.ask("DELETE", "/points")
    assert page.ask("POST", "/undo")["order"] == [1]
    page.ask("POST", "/undo")
    assert "nothing to undo" in page.ask("POST", "/undo", status=409)["error"]


def test_cancelling_keeps_what_is_done_and_tracking_again_completes_it(page, net, clip, tmp_path):
    page.ask("POST", "/points", {"t": 0, "grid": 5})
    page.ask("POST", "/track", {})
    assert "cancel first" in page.ask("DELETE", "/points", status=409)["error"]
    assert "already" in page.ask("POST", "/track", {}, status=409)["error"]
    while not (page.ask("GET", "/progress"))["done"]:
        time.sleep(0.005)
    page.ask("POST", "/cancel")
    while (progress := page.ask("GET", "/progress"))["condition"] == "running":
        time.sleep(0.02)
    assert progress["condition"] == "cancelled" and 0 < progress["done"] < NUM_FRAMES
    part = read_tracks(page.download("csv", tmp_path))
    assert known(part, 3) == list(range(progress["done"]))
    assert not part.visible[progress["done"] :].any()
    assert page.track()["condition"] == "done"
    whole = read_tracks(page.download("csv", tmp_path))
    assert torch.equal(whole.tracks[: progress["done"]], part.tracks[: progress["done"]])
    assert torch.equal(whole.tracks[:, 12], track(net, clip, [[0, 64, 48]]).tracks[:, 0])


def test_downloads_are_named_after_the_video_and_hold_the_same_numbers(page, tmp_path):
    page.ask("POST", "/points", {"t": 1, "points": CLICKS})
    page.track()
    npz, csv = (read_tracks(page.download(kind, tmp_path)) for kind in ("npz", "csv"))
    assert torch.equal(npz.tracks, csv.tracks) and torch.equal(npz.confidence, csv.confidence)
    assert (npz.size, npz.fps) == ((96, 128), 8.0)
    film = probe(page.download("mp4", tmp_path))
    assert (film.width, film.height, film.num_frames, film.fps) == (128, 96, NUM_FRAMES, 8.0)
    reply = page.client.get(f"/api/sessions/{page.key}/download/csv")
    assert 'filename="street_tracks.csv"' in reply.headers["content-disposition"]
    assert np.load(tmp_path / "tracks.npz")["video"] == "street.mp4"


def test_two_videos_wait_for_one_another(page, client, clip):
    other = client.post("/api/sessions?name=b.mp4", content=clip.read_bytes()).json()["session"]
    page.ask("POST", "/points", {"t": 0, "grid": 10})
    client.post(f"/api/sessions/{other}/points", json={"t": 0, "grid": 2})
    page.ask("POST", "/track", {})
    waiting = client.post(f"/api/sessions/{other}/track", json={}).json()
    assert (waiting["condition"], waiting["ahead"]) == ("waiting", 1)
    client.post(f"/api/sessions/{other}/cancel")
    assert client.get(f"/api/sessions/{other}/progress").json()["condition"] == "cancelled"
    while page.ask("GET", "/progress")["condition"] == "running":
        time.sleep(0.02)
    assert page.ask("GET", "/progress")["condition"] == "done"


def test_a_video_with_fewer_frames_than_packets_is_as_long_as_its_frames(net, clip, tmp_path):
    session = Session(replace(open_clip(clip, "street.mp4"), num_frames=NUM_FRAMES + 2), tmp_path)
    session.add(0, CLICKS)
    session.correct(2, NUM_FRAMES + 1, [3.0, 4.0])
    session.add(NUM_FRAMES, CLICKS)
    worker = Worker(net, image_size=None)
    worker.start(session, backward=False)
    session.job.future.result()
    worker.close()
    assert session.clip.num_frames == NUM_FRAMES
    assert list(session.points) == [1, 2] and len(session.points[2].anchors) == 1
    assert session.open_legs(backward=False) == []
