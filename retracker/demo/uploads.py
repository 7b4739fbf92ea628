"""What comes from outside: a file's bytes, what kind they are of, and a name that means nothing to us."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

from retracker.demo.refusal import TOO_LARGE, Refusal

MEGABYTE = 2**20
LONGEST_NAME = 80
HEAD_BYTES = 512
# What containers begin with. Playlists (.m3u8, ffconcat, .mpd ...) are none of them: these are texts that
# make FFmpeg open whatever files and addresses they name.
SIGNATURES = (
    ("mp4", re.compile(rb".{4}(ftyp|moov|mdat|wide|free|skip|pnot)", re.DOTALL)),
    ("mkv", re.compile(rb"\x1aE\xdf\xa3")),  # also WebM
    ("avi", re.compile(rb"RIFF.{4}AVI ", re.DOTALL)),
    ("flv", re.compile(rb"FLV\x01")),
    ("asf", re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11")),  # also WMV
    ("ogv", re.compile(rb"OggS")),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("y4m", re.compile(rb"YUV4MPEG2 ")),
    ("mpg", re.compile(rb"\x00\x00\x01[\xb3\xba]")),
    ("ts", re.compile(rb"\x47.{187}\x47", re.DOTALL)),
    ("m2ts", re.compile(rb".{4}\x47.{191}\x47", re.DOTALL)),
)


def display_name(given: str) -> str:
    """A file's name as its owner knows it: no folders, nothing that cannot be printed, not too long."""
    last = re.split(r"[/\\]", given)[-1]
    shown = "".join(letter for letter in last if letter.isprintable()).strip(". ")
    return shown[-LONGEST_NAME:] or "video"


def download_stem(name: str) -> str:
    """What the files made from a video of this name are called."""
    return re.sub(r"[^\w.-]+", "_", Path(name).stem).strip("._") or "video"


async def receive(
    chunks: AsyncIterator[bytes], declared: str | None, folder: Path, name: str, most_megabytes: int
) -> Path:
    """Write a body to a file in ``folder`` under a name of our own; raises Refusal and leaves nothing else.

    Both what is ``declared`` and what comes are held to the limit.
    """
    limit, path = most_megabytes * MEGABYTE, folder / "upload"
    large = Refusal(f"{name}: is larger than {most_megabytes} MB, which is the limit here", TOO_LARGE)
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise large
    count, head = 0, b""
    with path.open("wb") as file:
        async for chunk in chunks:
            count += len(chunk)
            if count > limit:
                raise large
            head = head + chunk if len(head) < HEAD_BYTES else head
            file.write(chunk)
    if not count:
        raise Refusal(f"{name}: is empty (0 bytes)")
    return path.rename(path.with_suffix(f".{kind_of(head, name)}"))


def kind_of(head: bytes, name: str) -> str:
    """What kind of video begins like this; raises Refusal if none does."""
    for kind, signature in SIGNATURES:
        if signature.match(head):
            return kind
    raise Refusal(
        f"{name}: is no video (known are MP4, MOV, MKV, WebM, AVI, MPEG, TS, WMV, FLV, OGV and GIF)"
    )
