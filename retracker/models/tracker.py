"""ReTracker, to be read from top to bottom.

Tracking is repeated matching: encode each frame once, match every point globally, keep the match or the
previous position, refine from local correlation with a memory of the point's own past. Points never see each
other, and no frame sees the future.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from retracker.geometry.coords import sample, sample_patches
from retracker.models.memory import push_context
from retracker.models.moments import Moment, moments
from retracker.models.parts import check_parts, check_sizes
from retracker.models.recompute import computed_again, kept, portions
from retracker.types import (
    Estimate,
    FeaturePyramid,
    FramePrediction,
    Noise,
    Prediction,
    Queries,
    TrackState,
    chunk,
    where,
)

MOST_GRAPHS = 64  # of one function, for different sizes, dtypes and modes
SURE = 10.0  # logit: what is known of a point in the frame in which it is given


def graph(method: Callable) -> Callable:
    """A method that runs as a graph once the net is compiled."""

    @wraps(method)
    def run(net: "ReTracker", *args: Any) -> Any:
        return net.graphs.get(method.__name__, method)(net, *args)

    run.eager = method
    return run


class ReTracker(nn.Module):
    """Track any point online: find it coarsely in the whole frame, then refine it from memory."""

    def __init__(  # noqa: PLR0913 -- six parts and their numbers
        self,
        backbone: nn.Module,
        descriptor: nn.Module,
        coarse: nn.Module,
        memory: nn.Module,
        refiner: nn.Module,
        choice: nn.Module,
        image_size: int,
        visible_threshold: float,
        detach_after: int,
        confidence_scale: float | int = 1.0,
        confidence_shift: float | int = 0.0,
        match_threshold: float = 0.2,
        most_enlarged: float | int | None = None,
    ) -> None:
        super().__init__()
        check_parts(backbone, coarse, memory, refiner)
        check_sizes(image_size, most_enlarged)
        self.backbone, self.descriptor, self.coarse = backbone, descriptor, coarse
        self.choice, self.refiner, self.memory = choice, refiner, memory
        self.image_size, self.most_enlarged = image_size, most_enlarged  # inference/frames.py
        # Of matches the lower one: they are checked there and back, and by geometry.
        self.visible_threshold, self.match_threshold = visible_threshold, match_threshold
        # Of the certainty logit, before it becomes a probability (Platt 1999): tools/fit_thresholds.py.
        self.confidence_scale, self.confidence_shift = confidence_scale, confidence_shift
        self.detach_after = detach_after  # frames that gradients flow back through memory; 0: all
        self.compiled: Callable[[Callable], Callable] | None = None  # how, if it is
        self.graphs: dict[str, Callable] = {}
        self.encoded_at_once = self.followed_at_once = 0

    def recompute(self, encode: int, follow: int) -> None:
        """Let training keep less: of ``encode`` frames at a time only the features, of ``follow`` the state.

        All else is computed again for the gradients, which stay what they are. 0: all is kept.
        """
        if encode < 0 or follow < 0:
            raise ValueError(
                f"recompute: expected numbers of frames, or 0 for none, got {encode} and {follow}"
            )
        self.encoded_at_once, self.followed_at_once = encode, follow

    def compile(self, frozen: bool = False, **options: Any) -> None:
        """Let ``torch.compile`` make graphs of what is done to every frame: ``encode`` and ``follow``.

        They are made when first called, in minutes, once for each size of frames and number of points.
        ``frozen``: weights become constants, which are quicker on CPUs; for a net that learns no more.
        """
        limit = torch._dynamo.config.recompile_limit  # beyond it, new sizes silently run uncompiled
        torch._dynamo.config.recompile_limit = max(limit, MOST_GRAPHS)
        # Under DDP graphs are cut to fit its buckets, but not where they run again in the backward pass: they
        # would keep another number of tensors. And gradients are complete only after a clip's first frame.
        torch._dynamo.config.optimize_ddp = False
        options |= {"options": {"freezing": True}} if frozen else {}
        options.setdefault("dynamic", False)  # graphs of any size are slower, and Inductor fails to make some
        self.compiled = partial(torch.compile, **options)
        self.graphs = {name: self.compiled(getattr(ReTracker, name).eager) for name in ("encode", "follow")}

    def forward(
        self,
        video: UInt8[Tensor, "B T 3 H W"],
        queries: Queries,
        anchors: Float[Tensor, "B A 2"] | None = None,
        noise: Noise | None = None,
        seen: Bool[Tensor, "B T N"] | None = None,
    ) -> Prediction:
        """Track the queries (px) forward through a clip, one frame after another.

        ``anchors`` are points of frame 0 that only take part in coarse matching. In training ``noise`` turns
        the random options on, and ``seen`` (true visibility) decides what is remembered.
        """
        clip = moments(self._encode_clip(video), queries.frame, noise, seen, self.detach_after)
        sought = None if anchors is None else (sample(clip[0].features.matching, anchors), anchors)
        follow = kept if self.followed_at_once == 0 else computed_again
        state, frames = None, []
        for part in portions(clip, self.followed_at_once):
            found, state = follow(self._follow_clip, part, state, queries.xy, sought)
            frames += found
        return summarize(frames)

    def _encode_clip(self, video: UInt8[Tensor, "B T 3 H W"]) -> list[FeaturePyramid]:
        """The features of each frame."""
        encode = kept if self.encoded_at_once == 0 else computed_again
        return [
            features
            for part in portions(video.transpose(0, 1), self.encoded_at_once)
            for features in chunk(encode(self.encode, part.flatten(0, 1)), len(part))
        ]

    def _follow_clip(
        self,
        clip: Sequence[Moment],
        state: TrackState | None,
        xy: Float[Tensor, "B N 2"],
        sought: tuple[Float[Tensor, "B A C"], Float[Tensor, "B A 2"]] | None,
    ) -> tuple[list[FramePrediction], TrackState]:
        """Track through some frames in a row; ``sought``: tokens and places of anchors."""
        frames = []
        for now in clip:
            first = state is None
            if now.cut:
                state = state.detach()
            frame, state = self.step(now.features, state, xy, now.born, now.noise, now.seen, now.any_born)
            if sought is not None and not first:  # in their own frame there is nothing to find
                frame = replace(frame, anchor_cells=self.coarse.classify(*sought, now.features.matching))
            frames.append(frame)
        return frames, state

    @graph
    def encode(self, images: UInt8[Tensor, "B 3 H W"]) -> FeaturePyramid:
        """Everything that is computed of a frame before any point is looked at."""
        pyramid = self.descriptor(self.backbone(images.float() / 255))
        return replace(pyramid, matching=self.coarse.encode(pyramid))

    def step(
        self,
        features: FeaturePyramid,
        state: TrackState | None,
        xy: Float[Tensor, "B N 2"],
        born: Bool[Tensor, "B N"],
        noise: Noise | None = None,
        seen: Bool[Tensor, "B N"] | None = None,
        births: bool | None = None,
    ) -> tuple[FramePrediction, TrackState]:
        """Find every point in one frame; points that are ``born`` here start at ``xy``.

        ``births``: whether any are, where that is known. To look at ``born`` makes a host wait for its GPU.
        """
        state = self.admit(features, state, xy, born, births)
        return self.follow(features, state, xy, born, noise, seen)

    @graph
    def follow(
        self,
        features: FeaturePyramid,
        state: TrackState,
        xy: Float[Tensor, "B N 2"],
        born: Bool[Tensor, "B N"],
        noise: Noise | None,
        seen: Bool[Tensor, "B N"] | None,
    ) -> tuple[FramePrediction, TrackState]:
        """One step of points that are all in the state."""
        memory = state.memory if noise is None else self.memory.forget(state.memory, noise.drop)
        cells, grid, coarse = self.coarse(
            state.token, memory.tokens, memory.gate > 0, state.last.xy, features.matching
        )
        start = self.choice(cells, grid, coarse, state.last, noise)
        refined, keys, values, token = self.refiner(replace(state, memory=memory), features, start)
        found = where(born, state.last, refined[-1])
        write = None if seen is None else seen | born
        state = self.remember(features, state, found, noise, write)
        state = replace(state, memory=push_context(state.memory, keys, values, state.alive))
        frame = FramePrediction(
            **self.answer(found, state.alive, born, xy),
            supervised=state.alive & ~born,
            cells=cells,
            grid=grid,
            coarse=coarse,
            refined=refined,
            levels=self.refiner.level_of_iteration,
            **self.refiner.dense(token, features.levels[-1]),
        )
        return frame, state

    def admit(
        self,
        features: FeaturePyramid,
        state: TrackState | None,
        xy: Float[Tensor, "B N 2"],
        born: Bool[Tensor, "B N"],
        births: bool | None = None,
    ) -> TrackState:
        """Describe the points that start in this frame and give them their place in the state."""
        if state is not None and not (born.any() if births is None else births):
            return state
        fresh = self.empty_state(features, xy)
        state = fresh if state is None else state
        # Nobody looks into the rings where they are not filled: what lies there need not be cleared away.
        rings = replace(fresh.memory, keys=state.memory.keys, values=state.memory.values)
        return where(born, replace(fresh, alive=torch.ones_like(born), memory=rings), state)

    def empty_state(self, features: FeaturePyramid, xy: Float[Tensor, "B N 2"]) -> TrackState:
        """A state in which nobody is alive yet, and everybody would start at ``xy``."""
        token = sample(features.matching, xy)
        templates = tuple(sample_patches(x, xy, self.refiner.template_radius) for x in features.levels)
        sure = torch.full_like(xy[..., 0], SURE)
        return TrackState(
            alive=torch.zeros_like(sure, dtype=torch.bool),
            token=token,
            templates=templates,
            last=Estimate(xy=xy, certainty=sure, occlusion=-sure),
            velocity=torch.zeros_like(xy),
            memory=self.memory.empty(templates, token, self.refiner.dim, len(templates)),
        )

    def remember(
        self,
        features: FeaturePyramid,
        state: TrackState,
        found: Estimate,
        noise: Noise | None,
        write: Bool[Tensor, "B N"] | None,
    ) -> TrackState:
        """Keep what was seen where the tracker is sure, or where told to; positions carry no gradient."""
        found = found.detach()
        sure = probability(found) if write is None else write.float()
        place = found.xy if noise is None else self.memory.misplace(found.xy, noise.drop, noise.jitter)
        memory = self.memory.write(
            state.memory, features, place, sure * state.alive, self.refiner.template_radius
        )
        last = where(state.alive, found, state.last)
        return replace(state, last=last, velocity=last.xy - state.last.xy, memory=memory)

    def answer(
        self,
        found: Estimate,
        alive: Bool[Tensor, "B N"],
        born: Bool[Tensor, "B N"],
        xy: Float[Tensor, "B N 2"],
    ) -> dict[str, Tensor]:
        """What users see: the query itself at its birth (sure) and before (hidden), then what was found."""
        old = alive & ~born
        confidence = (self.confidence_scale * found.certainty + self.confidence_shift).sigmoid()
        return {
            "xy": torch.where(old[..., None], found.xy, xy),
            "visible": born | (old & (probability(found) > self.visible_threshold)),
            "confidence": born + old * confidence,
        }


def probability(found: Estimate) -> Float[Tensor, "B N"]:
    """How probable it is that a point is visible and close to where it was found."""
    return found.certainty.sigmoid() * (1 - found.occlusion.sigmoid())


def surer_than(found: Estimate, threshold: float | int) -> Bool[Tensor, "B N"]:
    """Which points are to be called visible at another threshold in [0, 1]: none at 1, at 0 every one."""
    return (probability(found) > threshold) | (threshold == 0)  # what rounds to 0 is to count there, too


def summarize(frames: list[FramePrediction]) -> Prediction:
    """Put the answers of all frames on one time axis."""
    return Prediction(
        tracks=torch.stack([frame.xy for frame in frames], dim=1),
        visible=torch.stack([frame.visible for frame in frames], dim=1),
        confidence=torch.stack([frame.confidence for frame in frames], dim=1),
        frames=tuple(frames),
    )
