"""Videos on disk <-> RGB tensors, frame by frame or whole, through FFmpeg's libraries (PyAV)."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import torch
from av.video.frame import PictureType
from av.video.reformatter import Colorspace
from jaxtyping import UInt8
from torch import Tensor

from retracker.media.files import existing_file, replacing

UNKNOWN_FPS = Fraction(25)  # for the rare container that does not say
# Else the same frames do not always give the same file: x264's vector code for its macroblock tree rounds by
# where its buffers happen to lie.
REPEATABLE = "cpu-independent=1"
CONSTANT_QUALITY = "18"  # x264's scale, lower is better; at 18 most people see no loss
SEEK_BEHIND = 30  # frames: these are decoded sooner than a key frame is found
ONE_FRAME_A_PACKET = ("h264", "hevc", "av1", "vp9", "mjpeg")  # VP8 hides frames, MPEG-4 packs two in one
BT_709 = 1  # the code of that standard's matrix, primaries and transfer curve: what browsers assume
LIMITED_RANGE = 1
TICK = Fraction(1, 90_000)  # s, of files whose frames have times of their own (as in MPEG-2)


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video file says of itself."""

    height: int  # px, upright
    width: int
    fps: float
    num_frames: int | None  # as its index declares (if fragmented: of the first fragment); None without one


def read_video(path: str | Path, max_frames: int | None = None) -> tuple[UInt8[Tensor, "T 3 H W"], float]:
    """Read a whole video into memory, or its first ``max_frames`` frames; also its frames per second.

    Raises what ``iterate_video`` raises.
    """
    frames = list(islice(iterate_video(path), max_frames))
    return torch.stack(frames), probe(path).fps


def read_frames(path: str | Path, frames: Sequence[int]) -> UInt8[Tensor, "T 3 H W"]:
    """Read some frames of a video, in the order given: those that ``read_video`` gives under these numbers.

    Decodes from the last key frame that serves, where the file tells which one that is, else from the start.
    Raises ValueError if there are not so many frames, and what ``iterate_video`` raises.
    """
    wanted = set(frames)
    found = _frames_from_key(path, wanted) if min(wanted) > SEEK_BEHIND else {}
    if len(found) < len(wanted):
        found = {
            t: frame for t, frame in enumerate(islice(iterate_video(path), max(wanted) + 1)) if t in wanted
        }
    if len(found) < len(wanted):
        raise ValueError(f"{path}: ends before frame {max(wanted)}")
    return torch.stack([found[t] for t in frames])


def iterate_video(path: str | Path) -> Iterator[UInt8[Tensor, "3 H W"]]:
    """Decode a video frame by frame, upright and in the order of showing, holding one frame at a time.

    Raises FileNotFoundError if the file is missing, ValueError if it is no video, has no frame, or breaks.
    """
    return (frame for _, frame in iterate_timed(path))


def iterate_timed(path: str | Path) -> Iterator[tuple[float, UInt8[Tensor, "3 H W"]]]:
    """As ``iterate_video``, each frame behind the time (s) at which the file says that it is shown."""
    count, time = 0, 0.0
    try:
        with _opened(path) as (container, stream):
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else time + (1 / _rate(stream) if count else 0)
                yield float(time), _to_tensor(frame)
                count += 1
    except av.error.FFmpegError as error:
        where = f"breaks after frame {count - 1}" if count else "cannot be read as a video"
        raise ValueError(f"{path}: {where} ({_reason(error)})") from error
    if count == 0:
        raise ValueError(f"{path}: holds no frame that can be decoded")


def probe(path: str | Path) -> VideoInfo:
    """Look at a video's header and first frame. Raises what ``iterate_video`` raises."""
    first = next(iterate_video(path))
    with _opened(path) as (_, stream):
        return VideoInfo(
            height=first.shape[-2],
            width=first.shape[-1],
            fps=float(_rate(stream)),
            num_frames=stream.frames or None,
        )


def count_frames(path: str | Path) -> int:
    """Count a video's frames by walking through its packets, without decoding them.

    Raises what ``iterate_video`` raises, but knows nothing of frames that cannot be decoded.
    """
    try:
        with _opened(path) as (container, stream):
            # The last packet is empty; what an edit list cuts off is there and never shown.
            return sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: cannot be read as a video ({_reason(error)})") from error


def write_video(path: str | Path, frames: UInt8[Tensor, "T 3 H W"], fps: float | int) -> None:
    """Write frames as H.264 in MP4, so that browsers play it. Raises ValueError if there is no frame."""
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)


class VideoWriter:
    """An H.264 MP4 that grows frame by frame and takes its name only when it is complete.

    ``with VideoWriter(path, fps) as writer: writer.write(frame)``. Odd sizes are padded to even ones, which
    4:2:0 chroma needs, by repeating the last row or column. If the body raises, no file is left or replaced.
    Frames that do not come at an even rate are all written with their times.
    """

    def __init__(self, path: str | Path, fps: float | int) -> None:
        self.path, self.fps = Path(path), _valid_fps(fps)
        self._session: AbstractContextManager[None] = nullcontext()
        self._size: tuple[int, int] | None = None  # H, W of the first frame

    def __enter__(self) -> "VideoWriter":
        self._session = self._open()
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._session.__exit__(kind, error, trace)

    def write(self, frame: UInt8[Tensor, "3 H W"], time_s: float | None = None) -> None:
        """Append one RGB frame, to be shown at ``time_s``. Raises ValueError if it has another size."""
        size = (frame.shape[-2], frame.shape[-1])
        if self._size is None:
            self._size, self._stream, self._start = size, self._add_stream(size), time_s
            if time_s is not None:
                self._stream.codec_context.time_base = TICK
        if size != self._size:
            raise ValueError(f"{self.path}: expected frames of {self._size} (height, width), got {size}")
        picture = av.VideoFrame.from_ndarray(_to_even(frame), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        if time_s is not None:
            picture.time_base, picture.pts = TICK, round((time_s - self._start) / TICK)
        self._container.mux(self._stream.encode(picture))

    @contextmanager
    def _open(self) -> Iterator[None]:
        web = {"movflags": "+faststart"}  # the index comes first, so that a browser can start at once
        with replacing(self.path) as partial:
            with av.open(str(partial.resolve()), "w", format="mp4", options=web) as self._container:
                yield
                if self._size is None:
                    raise ValueError(f"{self.path}: a video needs at least one frame, got none")
                self._container.mux(self._stream.encode())

    def _add_stream(self, size: tuple[int, int]) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self.fps)
        stream.height, stream.width = (side + side % 2 for side in size)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": CONSTANT_QUALITY, "preset": "medium", "x264-params": REPEATABLE}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT_709
        context.color_range = LIMITED_RANGE
        return stream


def _frames_from_key(path: str | Path, wanted: set[int]) -> dict[int, UInt8[Tensor, "3 H W"]]:
    """The wanted frames, decoded from a key frame; not all of them where they cannot be told for sure."""
    found: dict[int, Tensor] = {}
    with suppress(av.error.FFmpegError), _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        times, keys = _times_of_showing(container, stream)
        if max(wanted) >= len(times):
            return {}
        start = max(time for time in keys if time <= times[min(wanted)])
        container.seek(start, stream=stream)
        number = {time: t for t, time in enumerate(times)}
        expected = number[start]
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts < start:  # belongs to the pictures before
                continue
            # Else frames do not correspond to packets, or pictures are renewed bit by bit.
            whole = frame.pts != start or frame.pict_type == PictureType.I
            if number.get(frame.pts) != expected or not whole:
                return {}
            if expected in wanted:
                found[expected] = _to_tensor(frame)
            if expected == max(wanted):
                break
            expected += 1
    return found


def _times_of_showing(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[list[int], list[int]]:
    """When each frame is shown, in that order, and when the key frames are, by the packets alone.

    Nothing if a frame's number does not follow from it: without times, with frames that are decoded but not
    shown, or if decoding begins otherwise than with the first frame.
    """
    packets = [
        (packet.pts, packet.is_keyframe, packet.is_discard or packet.is_corrupt)
        for packet in container.demux(stream)
        if packet.size
    ]
    times, keys, faulty = zip(*packets, strict=True) if packets else ((), (), ())
    sure = (
        stream.codec_context.name in ONE_FRAME_A_PACKET
        and None not in times
        and len(set(times)) == len(times)
        and not any(faulty)
        and keys[:1] == (True,)
        and times[0] == min(times)
    )
    return (sorted(times), [t for t, key in zip(times, keys, strict=True) if key]) if sure else ([], [])


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    # From the root on: FFmpeg takes what stands before a colon at the start of a name for a protocol.
    with av.open(str(existing_file(path).resolve())) as container:
        if container.format.name == "tty":  # FFmpeg would draw the letters of a text file
            raise ValueError(f"{path}: cannot be read as a video (it is text)")
        if not container.streams.video:
            raise ValueError(f"{path}: holds no video stream")
        yield container, container.streams.video[0]


def _rate(stream: av.VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or UNKNOWN_FPS


def _to_tensor(frame: av.VideoFrame) -> UInt8[Tensor, "3 H W"]:
    pixels = frame.to_ndarray(format="rgb24")  # H W 3
    # Phones film sideways and say so; rotation counts in degrees against the clock.
    upright = np.rot90(pixels, k=round(frame.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(upright)).permute(2, 0, 1).contiguous()


def _to_even(frame: UInt8[Tensor, "3 H W"]) -> np.ndarray:
    height, width = frame.shape[-2:]
    padded = frame.cpu().permute(1, 2, 0).numpy()
    return np.pad(padded, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _valid_fps(fps: float | int) -> Fraction:
    if not 0 < fps < float("inf"):
        raise ValueError(f"expected a positive number of frames per second, got {fps}")
    return Fraction(fps).limit_denominator(1001)  # 29.97 is 30000/1001


def _reason(error: av.error.FFmpegError) -> str:
    return (error.strerror or type(error).__name__).lower()
