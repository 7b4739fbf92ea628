"""What all commands share: arguments that fail in one line, a device, a model, and a progress bar."""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import nn

from retracker.checkpoint import load
from retracker.configuration import RunFailed
from retracker.host import FAILURE, MISTAKE
from retracker.inference.checks import check_tracker
from retracker.inference.frames import SHORTEST_PX
from retracker.training.memory_advice import out_of_memory

COMPILERS = ("g++", "clang++")
INTERRUPTED = 130  # what shells report after Ctrl-C
LINE_EVERY = 30.0  # s, where there is no terminal for a bar


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, without the page of usage."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message} (see {self.prog} --help)\n")
        raise SystemExit(MISTAKE)


def exit_code(program: str, action: Callable[[], int | None]) -> int:
    """Run a command, which may return an exit code; a mistake of its user becomes one line and code 2."""
    try:
        with memory_told():
            return action() or 0
    except (ValueError, OSError) as error:
        complain(program, error)
        return MISTAKE
    except RunFailed as error:
        complain(program, error)
        return FAILURE
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted; nothing half-written is left\n")
        return INTERRUPTED


@contextmanager
def memory_told(where: str = "") -> Iterator[None]:
    """Say of what raises because memory is at an end, as a RunFailed, that it is; all else stays."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        what = f" ({error})" if str(error) else ""
        raise RunFailed(f"{where}out of memory{what}; lower sizes, or points at a time") from error


def complain(program: str, error: Exception) -> None:
    """Say in one line on stderr what went wrong."""
    sys.stderr.write(f"{program}: {' '.join(str(error).split())}\n")


def add_common_arguments(parser: argparse.ArgumentParser, formats: tuple[str, ...], default: str) -> None:
    """The options that every command with a model and results has."""
    parser.add_argument("--ckpt", default="tiny", help="packaged name, .ckpt or .safetensors (default: tiny)")
    parser.add_argument(
        "--save", default=default, help=f"comma-separated, of: {', '.join(formats)} (default: {default})"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("."), help="folder for the files (default: this one)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: auto)")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="work on about N x N px (default: the model's; track: less for small films)",
    )


def parse_formats(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The formats named in ``--save``; raises ValueError for one that is not known."""
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in formats if name not in known]
    if unknown or not formats:
        named = unknown[0] if unknown else text
        raise ValueError(f"--save: expected some of {', '.join(known)}, got {named!r}")
    return formats


def check_folder(option: str, folder: Path) -> None:
    """Make the folder if it is missing, before the work; raises ValueError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option}: cannot make the folder {folder} ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{option}: may not write into {folder}")


def check_positive(option: str, value: int | None) -> None:
    """Raise ValueError naming the option if its value is given and not positive."""
    if value is not None and value < 1:
        raise ValueError(f"{option}: expected a positive number, got {value}")


def check_image_size(value: int | None) -> None:
    """Raise ValueError if it is given and so small that frames of any shape would be one of a few cells."""
    if value is not None and value < SHORTEST_PX:
        raise ValueError(f"--image-size: expected {SHORTEST_PX} px or more, got {value}")


def load_model(ckpt: str, device: str) -> nn.Module:
    """Load a tracker onto the device; raises ValueError if it is none or if there is no such device."""
    place = find_device(device)
    net = load(ckpt)
    check_tracker(net, ckpt)
    return net.to(place)


def compile_model(net: nn.Module) -> None:
    """Let ``torch.compile`` make the net quicker; raises ValueError on a CPU without a C++ compiler."""
    on_cpu = next(net.parameters()).device.type == "cpu"
    if on_cpu and not any(map(shutil.which, (os.environ.get("CXX", "g++"), *COMPILERS))):
        raise ValueError(f"--compile: needs a C++ compiler ({' or '.join(COMPILERS)}), and there is none")
    say("compiling: the first frame takes minutes; graphs are kept in a cache for the next time")
    net.compile(frozen=True)


def find_device(device: str) -> torch.device:
    """The device of a name such as auto or cuda:1; raises ValueError if there is no such device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device: cannot use {device!r} on this machine (try auto or cpu)") from error


@contextmanager
def progress_bar(title: str, total: int | None, unit: str = "items") -> Iterator[Callable[[], None]]:
    """A bar on stderr with its speed and the time left, or a line now and then if that is no terminal.

    Yields what to call after each step.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=total)
        tell = _now_and_then(title, total, unit)
        yield lambda: progress.advance(task) if console.is_terminal else tell()


class _Speed(ProgressColumn):
    """Steps per second of late."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} {self.unit}/s")


def _now_and_then(title: str, total: int | None, unit: str) -> Callable[[], None]:
    """What writes a line on stderr every ``LINE_EVERY`` seconds, when it is called."""
    started = told = time.monotonic()
    done = 0

    def step() -> None:
        nonlocal told, done
        done += 1
        now = time.monotonic()
        if now - told < LINE_EVERY:
            return
        told, speed = now, done / (now - started)
        left = "" if total is None else f" of {total}, {max(0, total - done) / speed:.0f} s left"
        sys.stderr.write(f"{title}: {done} {unit}{left}, {speed:.1f} {unit}/s\n")

    return step


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While this holds, a first Ctrl-C only makes what is yielded say True; a second one interrupts."""
    asked = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked:
            signal.default_int_handler(number, frame)
        asked.append(number)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def say(line: str) -> None:
    """Write one line for the user."""
    sys.stdout.write(f"{line}\n")
