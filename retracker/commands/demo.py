"""``retracker demo``: a local page on which points of a video are clicked, tracked and corrected."""

import argparse
import importlib
import importlib.util
import ipaddress
import socket
import webbrowser
from pathlib import Path

from retracker.commands.shell import (
    OneLineParser,
    check_image_size,
    check_positive,
    exit_code,
    load_model,
    say,
)
from retracker.data.datasets.synthetic import Synthetic
from retracker.media.video import write_video

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PROGRAM = "retracker demo"
NEEDED = ("starlette", "uvicorn")
HIGHEST_PORT = 65535
EXAMPLE_FPS = 12


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and serve until Ctrl-C; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code(PROGRAM, lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Serve the page. Raises ValueError for a user's mistake."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise ValueError('needs a web server, which is not installed: pip install "retracker[demo]"')
    server = importlib.import_module("retracker.demo.server")  # starlette and uvicorn are optional
    check_positive("--max-upload-mb", arguments.max_upload_mb)
    check_image_size(arguments.image_size)
    video = arguments.video
    clip = None if video is None else server.open_clip(video.resolve(), video.name)
    with _listening(arguments.host, arguments.port) as listening:
        settings = server.Settings(
            net=load_model(arguments.ckpt, arguments.device),
            image_size=arguments.image_size,
            max_upload_mb=arguments.max_upload_mb,
            hosts=_names(arguments.host),
            clip=clip,
            example=write_example,
        )
        address = f"http://{_written(arguments.host)}:{listening.getsockname()[1]}/"
        say(f"open {address} in a browser; Ctrl-C ends it and deletes what was uploaded")
        if settings.hosts is None:
            say("whoever reaches this machine on that port can use the page")
        if not arguments.no_browser:
            webbrowser.open(address)
        server.serve(server.build_app(settings), listening)


def write_example(path: Path) -> None:
    """Render a short clip of things that move and hide one another."""
    clips = Synthetic(length=1, difficulty="medium", num_frames=36, num_points=1, size=256, seed=0)
    write_video(path, clips[0].video, fps=EXAMPLE_FPS)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog=PROGRAM, description="Click points in a video and watch them tracked.")
    parser.add_argument(
        "video", type=Path, nargs="?", help="opened from the start (default: choose on the page)"
    )
    parser.add_argument("--ckpt", default="tiny", help="a packaged name or a .ckpt or .safetensors file")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="0: any that is free (default: 7860)")
    parser.add_argument("--max-upload-mb", type=int, default=500, metavar="N", help="default: 500")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="work on about N x N px (default: the model's, less for small films)",
    )
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    return parser


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises ValueError if that cannot be."""
    if not 0 <= port <= HIGHEST_PORT:
        raise ValueError(f"--port: expected a number from 0 to {HIGHEST_PORT}, got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise ValueError(f"--host {host} --port {port}: cannot listen there ({error.strerror})") from error


def _names(host: str) -> frozenset[str] | None:
    """Under which names the page may be asked for; None: any, where others than this machine can reach it."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return LOCAL_NAMES | {host} if local else None


def _written(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
