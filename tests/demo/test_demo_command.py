"""``retracker demo``: one line for every mistake, a running page otherwise."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from retracker.__main__ import main
from retracker.commands.demo import write_example
from retracker.media.video import probe


def complaint(capsys, *arguments):
    """The one line that these arguments get."""
    try:
        code = main(["demo", "--no-browser", *arguments])
    except SystemExit as stop:  # argparse's own mistakes
        code = stop.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(lines) == 1, lines
    return lines[0]


def test_without_its_packages_the_command_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert 'pip install "retracker[demo]"' in complaint(capsys)


@pytest.fixture
def packages():
    for name in ("starlette", "uvicorn"):
        pytest.importorskip(name, reason="the demo's web server is not installed")


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "--port: expected a number from 0 to 65535, got 70000"),
        (["--port", "web"], "argument --port: invalid int value: 'web'"),
        (["--max-upload-mb", "0"], "--max-upload-mb: expected a positive number, got 0"),
        (["--image-size", "-1"], "--image-size: expected 32 px or more, got -1"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid --port 7860: cannot listen there"),
        (["missing.mp4"], "missing.mp4: no such file"),
        (["--port", "0", "--ckpt", "missing.ckpt"], "missing.ckpt"),
    ],
)
def test_a_mistake_gets_one_line(capsys, arguments, words):
    assert words in complaint(capsys, *arguments)


@pytest.mark.usefixtures("packages")
def test_a_file_that_is_no_video_gets_one_line(capsys, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    assert "notes.mp4: cannot be read as a video" in complaint(capsys, str(tmp_path / "notes.mp4"))


@pytest.mark.usefixtures("packages")
def test_a_taken_port_gets_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port {port}: cannot listen there" in complaint(capsys, "--port", port)


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_there_until_it_is_stopped_and_leaves_nothing(clip, tmp_path, ending):
    command = [sys.executable, "-m", "retracker", "demo", str(clip), "--port", "0", "--no-browser"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        address = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline()).group()
        with urllib.request.urlopen(f"{address}api/hello", timeout=60) as reply:
            assert b'"session":"' in reply.read()
        assert [path.name[:15] for path in tmp_path.iterdir()] == ["retracker-demo-"]
        server.send_signal(ending)
        # 0 where Ctrl-C is ignored from the start, as in what a shell runs in the background.
        assert server.wait(timeout=30) in (0, 130, -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_example_is_a_short_video(tmp_path):
    write_example(tmp_path / "example.mp4")
    assert (probe(tmp_path / "example.mp4").num_frames, probe(tmp_path / "example.mp4").fps) == (36, 12.0)
