"""A camera that cannot be had is named in one line; a file stands in for one."""

import socket
import threading

import cv2
import numpy as np
import pytest
import torch

from retracker.media.camera import open_camera
from retracker.media.video import write_video


@pytest.fixture
def clip(tmp_path):
    """Ten frames that become brighter, as a file of 200 frames per second."""
    frames = torch.arange(0, 250, 25, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 48, 64).clone()
    frames[:, 0] = 200  # red: the order of colours shows
    write_video(tmp_path / "clip.mp4", frames, fps=200)
    return str(tmp_path / "clip.mp4"), frames


def test_a_file_gives_its_frames_in_order_with_times_that_grow_from_0(clip):
    path, frames = clip
    with open_camera(path) as camera:
        assert camera.fps == pytest.approx(200)
        times, found = zip(*camera, strict=True)
    assert len(found) == 10 and found[0].shape == (3, 48, 64) and found[0].dtype == torch.uint8
    for ours, given in zip(found, frames, strict=True):
        assert (ours.float() - given).abs().mean() < 6  # what compression costs
    assert times[0] == 0.0 and all(a < b for a, b in zip(times, times[1:], strict=False))
    assert times[-1] >= 9 / 200 - 1e-9  # no quicker than it was filmed


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (99, ValueError, "camera 99: cannot be opened"),
        ("99", ValueError, "camera 99: cannot be opened"),
        ("/dev/video99", ValueError, "/dev/video99: cannot be opened"),
        ("rtsp://127.0.0.1:9/none", ValueError, "rtsp://127.0.0.1:9/none: cannot be opened"),
        ("rtsp://me:secret@127.0.0.1:9/x", ValueError, "^rtsp://127.0.0.1:9/x: cannot be opened"),
        ("nosuch.mp4", FileNotFoundError, "nosuch.mp4: no such file"),
    ],
)
def test_what_cannot_be_opened_is_named_in_one_line_and_nothing_else_is_said(source, kind, message, capfd):
    with pytest.raises(kind, match=message) as error, open_camera(source):
        pass
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_file_that_is_no_video_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    with (
        pytest.raises(ValueError, match=r"notes.txt: cannot be opened"),
        open_camera(str(tmp_path / "notes.txt")),
    ):
        pass


def test_a_server_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"
        with pytest.raises(ValueError, match="cannot be opened"), open_camera(url, timeout_s=0.3):
            pass


def serve(server, pictures):
    """Send each picture as a network camera does, then nothing more."""
    listener, _ = server.accept()
    with listener:
        listener.recv(4096)
        listener.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=next\r\n\r\n")
        for picture in pictures:
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            listener.sendall(head.encode() + picture + b"\r\n")
        listener.recv(4096)


def test_a_camera_that_falls_silent_is_given_up_after_its_last_frame():
    picture = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = threading.Thread(target=serve, args=(server, 200 * [picture]), daemon=True)
        sender.start()
        url, count = f"http://127.0.0.1:{server.getsockname()[1]}/camera", 0
        with open_camera(url, timeout_s=1) as camera, pytest.raises(TimeoutError, match="no frame for 1 s"):
            for _ in camera:
                count += 1
        sender.join(10)
    assert count > 100 and not sender.is_alive()


def test_a_timeout_is_a_time():
    with pytest.raises(ValueError, match="expected a timeout above 0 s, got 0"), open_camera(0, timeout_s=0):
        pass
