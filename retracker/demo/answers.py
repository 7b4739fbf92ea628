"""What the page and the server tell each other, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from starlette.requests import Request

from retracker.demo.jobs import Found, Job
from retracker.demo.points import Point
from retracker.demo.refusal import TOO_LARGE, Refusal
from retracker.demo.session import Session
from retracker.demo.worker import Worker

LONGEST_BODY = 2**20  # bytes
MOST_FRAMES = 200  # told in one go
PLACES_PX, PLACES_CONFIDENCE = 2, 3  # digits that a screen can show


async def read_json(request: Request) -> dict[str, Any]:
    """A request's body as an object; raises Refusal if it is none, or unreasonably long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise Refusal("this request is too long", TOO_LARGE)
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8
        raise Refusal("expected a JSON object") from error
    if not isinstance(parsed, dict):
        raise Refusal("expected a JSON object")
    return parsed


def number(body: Mapping[str, Any], name: str) -> int:
    """A whole number of a request; raises Refusal naming it if it is none."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(f"{name}: expected a whole number")
    return value


def pairs(body: Mapping[str, Any], name: str) -> list[list[float]]:
    """Positions (x, y) of a request; raises Refusal if these are none."""
    value = body.get(name)
    if not (isinstance(value, list) and value and all(map(_is_pair, value))):
        raise Refusal(f"{name}: expected pairs of numbers [x, y]")
    try:
        return [[float(x), float(y)] for x, y in value]
    except OverflowError as error:
        raise Refusal(f"{name}: expected pairs of numbers [x, y]") from error


def state(session: Session) -> dict[str, Any]:
    """All that a page needs to show a session."""
    with session.lock:
        clip = session.clip
        height, width = clip.size
        return {
            "name": clip.name,
            "width": width,
            "height": height,
            "fps": clip.fps,
            "num_frames": clip.num_frames,
            **changed_points({}, session.points),
        }


def changed_points(before: Mapping[int, Point], now: Mapping[int, Point]) -> dict[str, Any]:
    """Which points there are, and those of them that are others than before."""
    changed = [point for key, point in now.items() if before.get(key) is not point]
    return {"order": list(now), "changed": [_told(point) for point in changed]}


def progress(session: Session, worker: Worker, *, since: int) -> dict[str, Any]:
    """How the session's tracking goes, with the frames done from the ``since``-th on."""
    job = session.job
    condition, reason = _condition(job)  # before the frames: once it says done, all of them are there
    found = job.found_since(since, MOST_FRAMES)
    return {
        "condition": condition,
        "error": reason,
        "ahead": worker.num_ahead(job),
        "num_frames": session.clip.num_frames,
        "next": since + len(found),
        "found": [_rounded(frame) for frame in found],
        **asdict(job.pace()),
    }


def _condition(job: Job) -> tuple[str, str | None]:
    future = job.future
    if future.cancelled():
        return "cancelled", None
    if not future.done():
        return ("running" if future.running() else "waiting"), None
    error = future.exception()
    if error is None:
        return ("cancelled" if job.stopped else "done"), None
    told = str(error) if isinstance(error, Refusal) else f"tracking failed ({type(error).__name__})"
    return "failed", told


def _told(point: Point) -> dict[str, Any]:
    answers, frames = point.answers, np.flatnonzero(point.answers.known)
    return {
        "id": point.key,
        "hue": round(point.hue, 1),
        "anchors": [[anchor.t, anchor.x, anchor.y] for anchor in point.anchors],
        "t": frames.tolist(),
        "xy": _short(answers.xy[frames], PLACES_PX),
        "visible": answers.visible[frames].tolist(),
        "confidence": _short(answers.confidence[frames], PLACES_CONFIDENCE),
    }


def _rounded(found: Found) -> dict[str, Any]:
    return {
        "t": found.t,
        "ids": found.keys,
        "xy": _short(np.array(found.xy).reshape(-1, 2), PLACES_PX),
        "visible": found.visible,
        "confidence": _short(np.array(found.confidence), PLACES_CONFIDENCE),
    }


def _short(values: np.ndarray, places: int) -> list:
    return np.round(values.astype(np.float64), places).tolist()


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, int | float) and not isinstance(part, bool) for part in value)
    )
