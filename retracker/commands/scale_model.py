"""A model of what a step of training costs on more GPUs, longer clips, more points, larger frames.

Computing and memory are sums of what the method does, with prices that are measured (non-negative least
squares on relative errors): a fixed part, F per frame, FA for pixels (backbone, maps), FAA for map attention,
FN for points (refiner), FNA for points that look at the whole map; F = clips x frames of one GPU, A =
megapixels of a frame, N = points. What a network of GPUs adds is assumed, not measured: see ``Cluster``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np
from scipy.optimize import nnls

TERMS = ("fixed", "F", "FA", "FAA", "FN", "FNA")
OF_DATA = ("fixed", "F", "FA", "FN")  # making a clip: nothing looks at the whole map
MEGA = 1e6
GIB_IN_MIB = 1024


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one GPU is given in one pass."""

    clips: int
    frames: int
    points: int
    height: int
    width: int

    def terms(self) -> list[float | int]:
        """The amounts that have a price, in the order of TERMS."""
        frames, area = self.clips * self.frames, self.height * self.width / MEGA
        return [
            1.0,
            frames,
            frames * area,
            frames * area**2,
            frames * self.points,
            frames * self.points * area,
        ]


@dataclass(frozen=True)
class Prices:
    """What each term costs, and how far off the fit is at worst (a share)."""

    of: Mapping[str, float]
    worst: float

    def total(self, size: Size) -> float | int:
        return sum(self.of[name] * amount for name, amount in zip(TERMS, size.terms(), strict=True))


def fit(sizes: Sequence[Size], costs: Sequence[float], terms: Sequence[str] = TERMS) -> Prices:
    """The prices of ``terms`` that come closest to measured costs; all others cost nothing.

    Raises ValueError for too few sizes.
    """
    if len(sizes) < len(TERMS):
        raise ValueError(f"scale plan: a fit needs at least {len(TERMS)} measured sizes, got {len(sizes)}")
    amounts = np.array([size.terms() for size in sizes]) * [name in terms for name in TERMS]
    measured = np.array(costs)
    scale = amounts.max(axis=0).clip(1e-12)  # or prices would differ by orders of magnitude
    found, _ = nnls(amounts / scale / measured[:, None], np.ones(len(measured)))
    prices = Prices(dict(zip(TERMS, map(float, found / scale), strict=True)), 0.0)
    off = [abs(prices.total(size) / cost - 1) for size, cost in zip(sizes, costs, strict=True)]
    return Prices(prices.of, max(off))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known from a machine: prices, and what does not depend on the size."""

    passes: Prices  # s, forward and backward
    backward_share: float  # of that
    data: Prices  # s, one process, one core
    saved: Prices  # MiB
    update_seconds: float  # optimiser and average
    fixed_mib: float  # weights, gradients, optimiser, average
    reduced_mib: float  # gradients
    spread: float  # of a step's time, standard deviation over mean


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is assumed of the machines."""

    gpus: int
    gpus_per_node: int
    link_gb: float | int  # GB/s, all-reduce bus bandwidth within a node
    network_gb: float | int  # between nodes, of each GPU
    overlap: float | int  # share of the backward pass that hides the all-reduce
    workers: int  # processes that make batches, of each GPU
    memory_gb: float | int  # of each GPU
    speed: float | int  # of a GPU, as a multiple of what was measured


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a step will take, s, and what it needs."""

    compute: float
    exposed: float  # of the all-reduce
    straggle: float
    update: float
    data: float  # the time in which all workers of a GPU make its batch
    memory_mib: float
    clips: int  # of a step, all GPUs

    @property
    def step(self) -> float:
        return max(self.compute + self.exposed + self.straggle + self.update, self.data)

    @property
    def limit(self) -> str:
        """What takes longest, or would."""
        if self.data > self.compute + self.exposed + self.straggle + self.update:
            return "data"
        shares = {"computing": self.compute, "network": self.exposed, "stragglers": self.straggle}
        return max(shares, key=shares.get)


def plan(measured: Measured, cluster: Cluster, size: Size, global_batch: int) -> Plan:
    """A step of ``global_batch`` clips; ``size.clips`` go through a GPU at once, the rest one after another.

    Raises ValueError where the batch cannot be shared out evenly.
    """
    together = cluster.gpus * size.clips
    if global_batch % together:
        raise ValueError(
            f"scale plan: global_batch must be a multiple of gpus x batch, {cluster.gpus} x {size.clips}, "
            f"got {global_batch}"
        )
    times = global_batch // together  # accumulated
    compute = times * measured.passes.total(size) / cluster.speed
    backward = measured.passes.total(size) * measured.backward_share / cluster.speed
    return Plan(
        compute=compute,
        exposed=max(0.0, all_reduce(measured.reduced_mib, cluster) - cluster.overlap * backward),
        # The largest of n normal values: sqrt(2 ln n) standard deviations above their mean (an upper bound).
        straggle=compute * measured.spread * sqrt(2 * log(cluster.gpus)),
        update=measured.update_seconds / cluster.speed,
        data=times * measured.data.total(size) / cluster.workers,
        memory_mib=measured.fixed_mib + measured.saved.total(size),
        clips=global_batch,
    )


def all_reduce(mib: float, cluster: Cluster) -> float:
    """Seconds of a ring: each GPU sends and gets 2 (n - 1) / n of the gradients, over the slowest link."""
    nodes = ceil(cluster.gpus / cluster.gpus_per_node)
    bandwidth = cluster.link_gb if nodes == 1 else min(cluster.link_gb, cluster.network_gb)
    return 2 * (cluster.gpus - 1) / cluster.gpus * mib * 2**20 / (1e9 * bandwidth)
