"""The processes of one evaluation: one, or as many as torchrun started, which share a folder of results."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

PATIENCE = timedelta(days=7)  # one process may have all the long videos
Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int
    world_size: int

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and gathers."""
        return self.rank == 0

    def share(self, indices: Sequence[int]) -> Sequence[int]:
        """This process's items. Every item is in one share: nothing is padded, nothing done twice."""
        return indices[self.rank :: self.world_size]

    def together(self, work: Callable[[], Done]) -> Done:
        """What this process's work returns, once the others have done theirs.

        Raises ValueError in all of them if it was a mistake of the user's (ValueError, OSError) in one.
        """
        if self.world_size == 1:
            return work()
        done, error = None, None
        try:
            done = work()
        except (ValueError, OSError) as mistake:
            error = str(mistake)
        told: list[str | None] = [None] * self.world_size
        dist.all_gather_object(told, error)
        mistakes = [words for words in told if words is not None]
        if mistakes:
            raise ValueError(mistakes[0])
        return done


ALONE = Ranks(rank=0, world_size=1)


@contextmanager
def all_ranks() -> Iterator[Ranks]:
    """The processes that torchrun started, joined over gloo (they exchange no tensors); else this one."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Ranks(rank=dist.get_rank(), world_size=world_size)
    finally:
        dist.destroy_process_group()
