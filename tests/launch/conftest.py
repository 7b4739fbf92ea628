"""What tests of launching share: a free port, and commands that end with their test."""

import os
import signal
import socket
import subprocess

import pytest


@pytest.fixture
def free_port():
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def started():
    """Starts commands in sessions of their own; what is left of them is killed with the test."""
    begun = []

    def begin(*words, **how):
        begun.append(subprocess.Popen(words, start_new_session=True, **how))
        return begun[-1]

    yield begin
    for each in begun:
        try:
            os.killpg(each.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            each.wait()
