"""Where a run stands in its stream, when processes, batches and steps are other than before."""

from itertools import islice
from types import SimpleNamespace

import pytest
from hydra.utils import instantiate
from torch.utils.data import Dataset

from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic

SMALL = ("data.num_workers=0", "data.train.synthetic.size=32", "data.train.synthetic.num_frames=2")
MIXED = ("data=joint", "data.num_workers=0", "data.block=8", "data.train.posed.size=32", "data.val.size=32")


def data_module(*overrides):
    known = () if set(MIXED) <= set(overrides) else SMALL
    return instantiate(compose_config("train", [*known, *overrides]).data, _convert_="all")


class Numbered(Dataset):
    """A stream whose samples are their positions."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __getitem__(self, position):
        return position


class Run:
    """Processes that take some steps of a run, each with its data, from what a checkpoint holds."""

    def __init__(self, batch_size, world_size, accumulate, checkpoint=None, step=0, overrides=()):
        self.batches, self.ranks = accumulate, []
        for rank in range(world_size):
            data = data_module(f"data.batch_size={batch_size}", *overrides)
            data.stream, data.collate = Numbered(data.stream), list
            data.trainer = SimpleNamespace(
                global_step=step, global_rank=rank, world_size=world_size, accumulate_grad_batches=accumulate
            )
            if checkpoint is not None:
                data.load_state_dict(checkpoint)
            self.ranks.append(data)

    def take(self, steps):
        """The positions that each step has read, and what the checkpoint says then."""
        read = [list(islice(data.train_dataloader(), steps * self.batches)) for data in self.ranks]
        for data in self.ranks:
            data.trainer.global_step += steps
        [state] = {tuple(data.state_dict().items()) for data in self.ranks}  # the same of each
        per_step = [
            sorted(
                n for rank in read for batch in rank[i * self.batches : (i + 1) * self.batches] for n in batch
            )
            for i in range(steps)
        ]
        return per_step, dict(state)


def test_no_sample_is_read_twice_or_left_out_while_processes_and_batches_change():
    read, state, step = [], None, 0
    for batch_size, world_size, accumulate in (
        (1, 2, 1),
        (2, 1, 1),
        (3, 2, 2),
        (1, 1, 1),
        (1, 3, 2),
        (1, 2, 1),
    ):
        steps, state = Run(batch_size, world_size, accumulate, state, step).take(2)
        assert all(len(clips) == batch_size * world_size * accumulate for clips in steps)
        read, step = read + sum(steps, []), step + 2
    assert read == list(range(len(read))) and state == {"samples": len(read), "step": step}


def test_a_checkpoint_that_does_not_tell_is_of_steps_like_those_of_now():
    (first, *_), _ = Run(2, 2, 3, checkpoint=None, step=5).take(1)
    assert first == list(range(60, 72))


def test_batches_of_mixed_lengths_never_straddle_two_blocks():
    """Eight clips in a row have one length: what was read must be a whole number of batches."""
    steps, state = Run(2, 1, 1, overrides=MIXED).take(3)
    assert steps[-1] == [4, 5]
    with pytest.raises(ValueError, match="read of them, 6, is no multiple of the 4 clips .*global_batch"):
        Run(2, 2, 1, state, 3, MIXED).take(1)
    steps, _ = Run(1, 2, 1, state, 3, MIXED).take(1)
    assert steps == [[6, 7]]


def test_the_names_of_clips_are_those_of_an_unbroken_run():
    def names(data, step, steps):
        data.trainer = SimpleNamespace(
            global_step=step, global_rank=0, world_size=1, accumulate_grad_batches=1
        )
        return [name for batch in islice(data.train_dataloader(), steps) for name in batch.name]

    assert isinstance(data_module().stream.sources[0].dataset, Synthetic)
    whole = names(data_module("data.batch_size=1"), 0, 6)
    broken, other = data_module("data.batch_size=1"), data_module("data.batch_size=2")
    first = names(broken, 0, 2)
    broken.trainer.global_step = 2
    other.load_state_dict(broken.state_dict())
    assert first + names(other, 2, 2) == whole and len(set(whole)) == 6
