"""What the processes of a training tell each other."""

from torch import Tensor, distributed


def of_all_ranks(own: object, world_size: int) -> list:
    """What every rank has to say, in the order of ranks. To be called on all of them."""
    if world_size == 1:
        return [own]
    found = [None] * world_size
    distributed.all_gather_object(found, own)
    return found


def summed(own: Tensor, world_size: int) -> Tensor:
    """The sum over all ranks, the same on each, to be called on all; the host does not wait for a GPU's."""
    if world_size > 1:
        own = own.clone()
        distributed.all_reduce(own)
    return own
