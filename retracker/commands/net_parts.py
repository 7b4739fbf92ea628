"""What the parts of a net cost: time, operations or whatever else can be read off before and after a call."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

Probe = Callable[[], float]  # a number that only grows: seconds, operations, bytes


@dataclass
class Watch:
    """Whether costs are counted: not while a backward pass computes parts of the forward pass again."""

    live: bool = True


def parts_of(net: nn.Module) -> list[tuple[object, str, str]]:
    """(owner, method, name) of each part; what is named "refiner, ..." is a part of "refiner"."""
    if not hasattr(net, "refiner"):
        return [(net, "forward", "net")]
    outer = [(net, "encode", "encode"), (net.coarse, "forward", "coarse")]
    outer += [(net.refiner, "forward", "refiner"), (net, "remember", "memory")]
    if net.compiled is not None:
        return outer[:1]  # inside a graph nothing can be timed
    inner = [(net.backbone, "forward", "encode, backbone"), (net.coarse, "encode", "encode, map attention")]
    levels = enumerate(net.refiner.levels)
    return outer + inner + [(level, "forward", f"refiner, level {i}") for i, level in levels]


@contextmanager
def watched(
    parts: list[tuple[object, str, str]], probe: Probe, spent: MutableMapping[str, float]
) -> Iterator[None]:
    """Add up what is spent in each part, meanwhile."""
    watch = Watch()
    for owner, method, name in parts:
        object.__setattr__(owner, method, counting(getattr(owner, method), name, (probe, spent, watch)))
    try:
        yield
    finally:
        watch.live = False
        for owner, method, _ in parts:
            object.__delattr__(owner, method)  # the class's own shows again


def counting(work: Callable, name: str, count: tuple[Probe, MutableMapping[str, float], Watch]) -> Callable:
    """``work`` that says what it costs."""
    probe, spent, watch = count

    def counted(*args: object, **kwargs: object) -> object:
        if not watch.live:
            return work(*args, **kwargs)
        before = probe()
        try:
            return work(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + probe() - before

    return counted
