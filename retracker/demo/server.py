"""The server behind the page: a few addresses for a video, its frames, its points and their tracking."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from torch import nn

from retracker.demo.answers import changed_points, number, pairs, progress, read_json, state
from retracker.demo.downloads import FORMATS, write_download
from retracker.demo.gate import Gate
from retracker.demo.refusal import ABSENT, Refusal, calling
from retracker.demo.session import Clip, Session, Sessions, open_clip
from retracker.demo.uploads import display_name, download_stem, receive
from retracker.demo.worker import Worker

PAGE = Path(__file__).parent / "page"
FAILED = 500
MOST_DIGITS = 19  # of a counter


class NumberConvertor(IntegerConvertor):
    """A number in an address, of few enough digits: Python refuses to read thousands of them."""

    regex = f"[0-9]{{1,{MOST_DIGITS}}}"


register_url_convertor("number", NumberConvertor())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the server is started with."""

    net: nn.Module
    image_size: int | None = None  # px; None: the net's own
    max_upload_mb: int = 500
    hosts: frozenset[str] | None  # names it may be reached under; None: any
    clip: Clip | None = None  # opened from the start
    example: Callable[[Path], None] | None = None  # writes a video to try the page with


class Demo:
    """The addresses, one method each, over the sessions of one server."""

    def __init__(self, settings: Settings, folder: TemporaryDirectory) -> None:
        self._settings, self._folder, self._first = settings, folder, None
        self._sessions = Sessions(Path(folder.name))
        self._worker = Worker(settings.net, settings.image_size)
        if settings.clip is not None:
            with self._sessions.new_folder() as own:
                self._first = self._sessions.add(settings.clip, own)

    def close(self) -> None:
        """Stop tracking and delete all that was written."""
        self._worker.close()
        self._folder.cleanup()

    async def hello(self, request: Request) -> Response:  # noqa: ARG002 -- every address is given one
        return JSONResponse(
            {
                "session": self._first if self._first in self._sessions else None,
                "max_upload_mb": self._settings.max_upload_mb,
                "example": self._settings.example is not None,
                "formats": FORMATS,
            }
        )

    async def upload(self, request: Request) -> Response:
        name, declared = (
            display_name(request.query_params.get("name", "")),
            request.headers.get("content-length"),
        )
        with self._sessions.new_folder() as folder:
            path = await receive(request.stream(), declared, folder, name, self._settings.max_upload_mb)
            clip = await run_in_threadpool(open_clip, path, name)
            key = self._sessions.add(clip, folder)
        return self._state(key)

    def example(self, request: Request) -> Response:  # noqa: ARG002
        if self._settings.example is None:
            raise Refusal("there is no example here", ABSENT)
        with self._sessions.new_folder() as folder:
            path = folder / "upload.mp4"
            self._settings.example(path)
            key = self._sessions.add(open_clip(path, "example.mp4"), folder)
        return self._state(key)

    def look(self, request: Request) -> Response:
        return self._state(request.path_params["session"])

    def close_session(self, request: Request) -> Response:
        key = request.path_params["session"]
        if key != self._first:  # the film it was started with stays, for whoever comes back
            self._sessions.close(key)
        return JSONResponse({})

    def frame(self, request: Request) -> Response:
        session, t = self._session(request), request.path_params["t"]
        with calling(session.clip.path, session.clip.name):
            picture = session.frames.jpeg(t, session.clip.num_frames)
        keeping = {"cache-control": "private, max-age=3600, immutable"}
        return Response(picture, media_type="image/jpeg", headers=keeping)

    async def add(self, request: Request) -> Response:
        session, body = self._session(request), await read_json(request)
        t = number(body, "t")
        if "grid" in body:
            return self._changed(session, lambda: session.add_grid(t, number(body, "grid")))
        return self._changed(session, lambda: session.add(t, pairs(body, "points")))

    async def correct(self, request: Request) -> Response:
        session, body = self._session(request), await read_json(request)
        [xy] = pairs({"points": [body.get("xy")]}, "points")
        key = request.path_params["point"]
        return self._changed(session, lambda: session.correct(key, number(body, "t"), xy))

    def remove(self, request: Request) -> Response:
        session = self._session(request)
        return self._changed(session, lambda: session.remove(request.path_params["point"]))

    def clear(self, request: Request) -> Response:
        session = self._session(request)
        return self._changed(session, session.clear)

    def undo(self, request: Request) -> Response:
        session = self._session(request)
        return self._changed(session, session.undo)

    async def track(self, request: Request) -> Response:
        session, body = self._session(request), await read_json(request)
        self._worker.start(session, backward=body.get("backward") is True)
        return self._progress(session, since=0)

    def cancel(self, request: Request) -> Response:
        session = self._session(request)
        with session.lock:
            session.job.cancel()
        return JSONResponse({})

    def progress(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        return self._progress(
            self._session(request), since=int(since) if since.isdecimal() and len(since) < MOST_DIGITS else 0
        )

    def download(self, request: Request) -> Response:
        session, kind = self._session(request), request.path_params["kind"]
        path = write_download(session, kind)
        name = f"{download_stem(session.clip.name)}_tracks.{kind}"
        return FileResponse(path, filename=name, background=BackgroundTask(path.unlink, missing_ok=True))

    def _session(self, request: Request) -> Session:
        return self._sessions[request.path_params["session"]]

    def _state(self, key: str) -> Response:
        session = self._sessions[key]
        return JSONResponse(
            {"session": key, **state(session), "job": progress(session, self._worker, since=0)}
        )

    def _progress(self, session: Session, *, since: int) -> Response:
        return JSONResponse(progress(session, self._worker, since=since))

    @staticmethod
    def _changed(session: Session, change: Callable[[], None]) -> Response:
        with session.lock:
            before = session.points
            change()
            return JSONResponse(changed_points(before, session.points))


def build_app(settings: Settings) -> Starlette:
    """The whole application; when it ends, so does its work, and its folder is deleted."""
    demo = Demo(settings, TemporaryDirectory(prefix="retracker-demo-", ignore_cleanup_errors=True))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        demo.close()

    return Starlette(
        routes=_routes(demo),
        middleware=[Middleware(Gate, hosts=settings.hosts)],
        exception_handlers={Refusal: _refused, HTTPException: _unknown, FAILED: _failed},
        lifespan=lifespan,
    )


def serve(app: Starlette, listening: socket) -> None:
    """Answer what comes to a socket that listens, until Ctrl-C."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listening])


def _routes(demo: Demo) -> list[BaseRoute]:
    one = "/api/sessions/{session}"
    return [
        Route("/", _index),
        Mount("/page", StaticFiles(directory=PAGE)),
        Route("/api/hello", demo.hello),
        Route("/api/example", demo.example, methods=["POST"]),
        Route("/api/sessions", demo.upload, methods=["POST"]),
        Route(one, demo.look),
        Route(one, demo.close_session, methods=["DELETE"]),
        Route(one + "/frames/{t:number}", demo.frame),
        Route(one + "/points", demo.add, methods=["POST"]),
        Route(one + "/points", demo.clear, methods=["DELETE"]),
        Route(one + "/points/{point:number}", demo.correct, methods=["PUT"]),
        Route(one + "/points/{point:number}", demo.remove, methods=["DELETE"]),
        Route(one + "/undo", demo.undo, methods=["POST"]),
        Route(one + "/track", demo.track, methods=["POST"]),
        Route(one + "/cancel", demo.cancel, methods=["POST"]),
        Route(one + "/progress", demo.progress),
        Route(one + "/download/{kind}", demo.download),
    ]


async def _index(_: Request) -> Response:
    return FileResponse(PAGE / "index.html")


async def _refused(_: Request, error: Refusal) -> Response:
    return JSONResponse({"error": str(error)}, error.status)


async def _unknown(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code)


async def _failed(_: Request, error: Exception) -> Response:
    return JSONResponse(
        {"error": f"the server failed ({type(error).__name__}); its terminal says more"}, FAILED
    )
