"""Live tracking takes the latest frame, counts the others, and passes on what goes wrong."""

import runpy
import sys
import threading
import weakref
from pathlib import Path

import pytest
import torch

from retracker.inference.live import LiveTracker
from retracker.inference.online import OnlineTracker
from retracker.media.camera import open_camera
from retracker.media.video import write_video

EXAMPLE = Path(__file__).parents[2] / "examples" / "camera.py"
SOON = 60.0  # s: only a test that fails waits so long


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self):
        return self.now


class Bursts:
    """Frames that come in bursts: ``go`` returns when the next one is there."""

    def __init__(self, video, sizes):
        self._video, self._sizes = video, sizes
        self._go, self._came = threading.Semaphore(0), threading.Semaphore(0)

    def __iter__(self):
        frames = iter(self._video)
        for size in self._sizes:
            assert self._go.acquire(timeout=SOON)
            for _ in range(size):
                yield next(frames)
            self._came.release()

    def go(self):
        self._go.release()
        assert self._came.acquire(timeout=SOON)


@pytest.fixture
def tracker(model):
    tracker = OnlineTracker(model)
    tracker.add_queries([[20.0, 30.0]])
    return tracker


def test_the_latest_frame_of_each_burst_is_tracked_and_the_others_are_counted(tracker, sample):
    source = Bursts(sample.video, [1, 3, 2])
    with LiveTracker(tracker, source) as live:
        answers = iter(live)
        found = []
        for _ in range(3):
            source.go()
            found.append(next(answers))
        assert next(answers, None) is None
    for answer, t in zip(found, (0, 3, 5), strict=True):
        assert torch.equal(answer.frame, sample.video[t])
    assert [answer.dropped for answer in found] == [0, 2, 1]
    report = live.report()
    assert (report.captured, report.tracked, report.dropped) == (6, 3, 3)
    assert str(report).startswith("tracked 3 of 6 frames (3 dropped)")


def test_what_is_answered_is_what_the_online_tracker_says_of_the_frames_it_was_given(model, tracker, sample):
    source = Bursts(sample.video, [2, 1, 3])
    with LiveTracker(tracker, source) as live:
        answers, found = iter(live), []
        for _ in range(3):
            source.go()
            found.append(next(answers).found)
    other = OnlineTracker(model)
    other.add_queries([[20.0, 30.0]])
    for ours, t in zip(found, (1, 2, 5), strict=True):
        assert torch.equal(ours.tracks, other.step(sample.video[t]).tracks)


def test_latency_runs_from_when_a_frame_came_to_its_answer(tracker, sample):
    source, clock = Bursts(sample.video, [1] * 5), Clock()
    with LiveTracker(tracker, source, clock=clock) as live:
        answers = iter(live)
        assert live.report().latency_s is None
        for t, wait in enumerate((0.1, 0.2, 0.3, 0.4, 1.4)):
            clock.now = 10.0 * t
            source.go()
            clock.now += wait
            assert next(answers).latency_s == pytest.approx(wait)
    report = live.report()
    assert report.latency_s == pytest.approx(0.3)
    assert report.latency_late_s == pytest.approx(1.2)  # 95 % of the way through five values, interpolated
    assert report.fps == pytest.approx(4 / 41.3)
    assert "latency 300 ms (95 of 100 at most 1200 ms)" in str(report)


def test_one_frame_is_held_however_many_come(tracker, sample):
    alive, most = [], []

    def frames():
        for t in range(60):
            frame = sample.video[t % 6].clone()
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            most.append(sum(one() is not None for one in alive))

    with LiveTracker(tracker, frames()) as live:
        for _ in live:
            pass
    assert max(most) <= 3  # one waits, one is tracked, one is in the hands of this test
    report = live.report()
    assert report.captured == 60 == report.tracked + report.dropped


def test_what_goes_wrong_while_reading_reaches_who_tracks(tracker, sample):
    def frames():
        yield from sample.video[:2]
        raise OSError("the cable is out")

    with LiveTracker(tracker, frames()) as live, pytest.raises(OSError, match="the cable is out"):
        for _ in live:
            pass
    report = live.report()
    assert report.captured == 2 == report.tracked + report.dropped


def test_what_goes_wrong_while_tracking_ends_the_reading(tracker):
    def frames():
        while True:
            yield torch.zeros(3, 64, 64)  # of a type that trackers refuse

    live = LiveTracker(tracker, frames())
    with pytest.raises(ValueError, match="uint8"), live:
        next(iter(live))
    assert not live._thread.is_alive()


def test_leaving_early_ends_the_reading_and_every_frame_is_accounted_for(tracker, sample):
    def frames():
        while True:
            yield from sample.video

    with LiveTracker(tracker, frames()) as live:
        next(iter(live))
    assert not live._thread.is_alive()
    report = live.report()
    assert report.tracked == 1 and report.captured == report.tracked + report.dropped


def test_silence_is_an_error_and_so_is_not_entering(tracker, sample):
    source = Bursts(sample.video, [1])
    with LiveTracker(tracker, source, patience_s=0.05) as live:
        with pytest.raises(TimeoutError, match=r"no frame for 0\.05 s"):
            next(iter(live))
        source.go()
    with pytest.raises(ValueError, match="expected `with"):
        next(iter(LiveTracker(tracker, source)))


def test_points_come_and_go_between_frames(tracker, sample):
    source = Bursts(sample.video, [1, 1, 1])
    with LiveTracker(tracker, source) as live:
        answers, ids = iter(live), []
        for t in range(3):
            source.go()
            ids.append(next(answers).found.ids.tolist())
            if t == 0:
                live.tracker.add_queries([[9.0, 9.0]])
            if t == 1:
                live.tracker.remove_queries([0])
    assert ids == [[0], [0, 1], [1]]


def test_a_file_is_tracked_live(tracker, sample, tmp_path):
    write_video(tmp_path / "clip.mp4", sample.video.repeat(4, 1, 1, 1), fps=100)
    with open_camera(str(tmp_path / "clip.mp4")) as camera, LiveTracker(tracker, camera) as live:
        answers = list(live)
    report = live.report()
    assert report.captured == 24 == report.tracked + report.dropped
    assert len(answers) == report.tracked >= 1
    assert sum(answer.dropped for answer in answers) == report.dropped  # the last one is always tracked


def test_the_example_says_in_a_line_that_there_is_no_camera(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["camera.py", str(tmp_path / "nowhere.mp4")])
    with pytest.raises(SystemExit, match=r"camera.py: .*nowhere\.mp4"):
        runpy.run_path(str(EXAMPLE))


def test_the_example_runs_on_a_file(sample, tmp_path, monkeypatch, capsys):
    write_video(tmp_path / "clip.mp4", sample.video.repeat(4, 1, 1, 1), fps=25)
    monkeypatch.setattr(sys, "argv", ["camera.py", str(tmp_path / "clip.mp4")])
    runpy.run_path(str(EXAMPLE))
    *frames, last = capsys.readouterr().out.splitlines()
    assert frames and all("points seen" in line for line in frames)
    assert last.startswith(f"tracked {len(frames)} of 24 frames")
