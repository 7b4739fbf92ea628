"""CoTracker3 (Karaev et al., 2024) as a tracker, from torch.hub or from a copy of its repository.

As in its own evaluation: the video is resized to the model's input with corners aligned, a point is visible
where visibility times confidence exceeds a threshold, and a query that is asked for alone brings a local and
a global grid of supporting points, all of them from frame 0.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retracker.benchmarks.devices import device_of
from retracker.benchmarks.protocol import Tracked, Tracker
from retracker.data.safe_pickle import BROKEN

HALF = 0.5  # CoTracker calls the centre of the upper-left pixel (0, 0); we call it (0.5, 0.5)
UNTRAINED = "untrained"  # instead of a checkpoint: random weights, which are as fast as released ones
MARGIN = 1 / 64  # of a support grid's width: how far off its border the points begin


@dataclass(frozen=True, kw_only=True)
class CoTrackerSettings:
    """How CoTracker is asked."""

    single_point: bool  # each query alone, as TAP-Vid's rules want it; else all together
    global_grid: int  # supporting points a side, over the whole frame
    local_grid: int  # supporting points a side, around a query that is asked for alone
    local_extent: float | int  # px of the model's input: the width of the local grid
    iterations: int
    threshold: float | int  # of visibility times confidence


def cotracker(
    model: str,
    repository: str,
    source: str,
    checkpoint: str | None,
    settings: CoTrackerSettings,
    device: str,
) -> Tracker:
    """The tracker, loaded: ``model`` is "cotracker3_offline" or "cotracker3_online".

    ``source`` is "github", where ``repository`` is an owner and a name, or "local", where it is a folder.
    Without a ``checkpoint`` (a file, or "untrained") torch.hub fetches the released weights. Raises
    ValueError or OSError, in one sentence, if the code or the weights cannot be had.
    """
    place = device_of(device)
    predictor = load_predictor(model, repository, source, checkpoint).to(place).eval()

    def track(video: UInt8[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"]) -> Tracked:
        size, small = tuple(video.shape[-2:]), tuple(predictor.interp_shape)
        clip = F.interpolate(video.to(place).float(), small, mode="bilinear", align_corners=True)
        asked = _to_model(queries.to(place).float(), size, small)
        with torch.inference_mode():
            parts = [
                ask(predictor.model, clip, group, settings, getattr(predictor, "step", None))
                for group in (asked.split(1) if settings.single_point else [asked])
            ]
        xy, belief = (torch.cat(values, dim=1) for values in zip(*parts, strict=True))
        tracks = (xy * _scale(small, size).to(place) + HALF).cpu().clone()
        confidence = belief.cpu().clone()
        return Tracked(tracks=tracks, visible=confidence > settings.threshold, confidence=confidence)

    return track


def load_predictor(model: str, repository: str, source: str, checkpoint: str | None) -> nn.Module:
    """What torch.hub calls by that name; see ``cotracker``."""
    if source not in ("github", "local"):
        raise ValueError(f"cotracker: expected source to be github or local, got {source!r}")
    options = {"trust_repo": True, "verbose": False, "pretrained": checkpoint is None}
    try:
        predictor = torch.hub.load(repository, model, source=source, **options)
    except (OSError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise OSError(f"cotracker: cannot load {model} from {source} {repository}: {reason}") from error
    if checkpoint not in (None, UNTRAINED):
        _fill(predictor.model, Path(checkpoint))
    return predictor


def ask(
    model: nn.Module,
    clip: Float[Tensor, "T 3 h w"],
    queries: Float[Tensor, "N 3"],
    settings: CoTrackerSettings,
    step: int | None,
) -> tuple[Float[Tensor, "T N 2"], Float[Tensor, "T N"]]:
    """Positions (px of the model's input) of queries asked for together, and the belief that they are seen.

    An online model is given windows of two ``step``, one step apart, and answers for all frames up to then.
    """
    points = torch.cat([queries, support(queries, tuple(clip.shape[-2:]), settings)])[None]
    options = {"queries": points, "iters": settings.iterations}
    if step is None:
        xy, visible, confidence, *_ = model(video=clip[None], **options)
    else:
        model.init_video_online_processing()
        for start in range(0, max(1, len(clip) - step), step):
            window = clip[None, start : start + 2 * step]
            xy, visible, confidence, *_ = model(video=window, is_online=True, **options)
    return xy[0, :, : len(queries)], (visible * confidence)[0, :, : len(queries)]


def support(
    queries: Float[Tensor, "N 3"], size: tuple[int, int], settings: CoTrackerSettings
) -> Float[Tensor, "S 3"]:
    """The points that are tracked beside the queries, (t, x, y) in px of the model's input."""
    height, width = size
    points = [_grid(settings.global_grid, queries.new_tensor([width / 2, height / 2]), (width, height))]
    if settings.single_point:
        extent = (settings.local_extent, settings.local_extent)
        points = [_grid(settings.local_grid, xy, extent) for xy in queries[:, 1:]] + points
    together = torch.cat(points)
    return torch.cat([torch.zeros_like(together[:, :1]), together], dim=-1)


def _grid(
    count: int, centre: Float[Tensor, "2"], extent: tuple[float | int, float | int]
) -> Float[Tensor, "K 2"]:
    """``count`` points a side around a centre, over a (width, height) less its margin."""
    steps = torch.linspace(-0.5, 0.5, count, device=centre.device)
    width, height = (side - 2 * MARGIN * extent[0] for side in extent)
    x, y = torch.meshgrid(centre[0] + steps * width, centre[1] + steps * height, indexing="xy")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def _to_model(
    queries: Float[Tensor, "N 3"], size: tuple[int, int], small: tuple[int, int]
) -> Float[Tensor, "N 3"]:
    """Queries in raster px of a video as CoTracker counts, in indices of its input's pixels."""
    xy = (queries[:, 1:] - HALF) * _scale(size, small).to(queries)
    return torch.cat([queries[:, :1], xy], dim=-1)


def _scale(size: tuple[int, int], new_size: tuple[int, int]) -> Float[Tensor, "2"]:
    """How indices (x, y) of pixels grow where an image is resized with its corner pixels aligned."""
    (height, width), (new_height, new_width) = size, new_size
    return torch.tensor([(new_width - 1) / max(width - 1, 1), (new_height - 1) / max(height - 1, 1)])


def _fill(model: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"cotracker: there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected weights of CoTracker, got no file of torch.save, or half of one")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(tensors.get("model", tensors))
    except BROKEN as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: its weights are not those of this CoTracker: {reason}") from error
