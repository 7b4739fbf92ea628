"""What the data of any run have in common: an endless training stream and a fixed validation set."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader, Dataset

from retracker.data.mixture import Mixture, Positions
from retracker.data.workers import noted, obituary, settle
from retracker.types import TensorStruct

Collate = Callable[[Sequence[TensorStruct]], TensorStruct]


@dataclass(frozen=True, kw_only=True)
class Read:
    """How many samples of the stream had been read at some step."""

    samples: int
    step: int


class StreamModule(pl.LightningDataModule):
    """Read ``stream`` from where a run stands, and all of ``val`` in order, one sample at a time.

    ``val`` must begin again after its last sample, and then say of each that it does not count: ranks go in
    step. Raises ValueError for a batch_size or num_workers that makes no sense.
    """

    def __init__(
        self, stream: Mixture, val: Dataset, collate: Collate, batch_size: int, num_workers: int
    ) -> None:
        super().__init__()
        whole = isinstance(batch_size, int) and isinstance(num_workers, int)
        if not whole or batch_size < 1 or num_workers < 0:
            raise ValueError(
                f"data: batch_size must be >= 1 and num_workers >= 0, got {batch_size!r} and {num_workers!r}"
            )
        self.stream, self.val, self.collate = stream, val, collate
        self.batch_size, self.num_workers = batch_size, num_workers
        self.deaths = ""  # what became of workers that died, once training has failed
        self._loaders: list[DataLoader] = []
        self._read_before = Read(samples=0, step=0)  # a checkpoint that does not tell is of steps like ours

    def train_dataloader(self) -> DataLoader:
        """The stream from where this run stands. Ranks take turns, so each batch is a run of positions."""
        start = self._samples_read() + self.trainer.global_rank
        stream = noted(self.stream, f"the stream of {', '.join(self.stream.names)}", self.num_workers)
        return self._loader(stream, Positions(start, self.trainer.world_size), self.batch_size)

    def state_dict(self) -> dict[str, int]:
        """How far the stream has been read, for a checkpoint: the next run may have other batches."""
        return {"samples": self._samples_read(), "step": self.trainer.global_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self._read_before = Read(**state)

    def _samples_read(self) -> int:
        """What the steps taken so far have read of the stream, in all processes."""
        trainer = self.trainer
        steps = trainer.global_step - self._read_before.step
        batches = steps * trainer.accumulate_grad_batches * trainer.world_size
        return self._read_before.samples + batches * self.batch_size

    def val_dataloader(self) -> DataLoader:
        """Every ``world_size``-th sample, one at a time, and as many on each rank."""
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        positions = range(rank, ceil(len(self.val) / world_size) * world_size, world_size)
        val = noted(self.val, "the validation set", self.num_workers)
        return self._loader(val, positions, batch_size=1)

    def teardown(self, stage: str) -> None:  # noqa: ARG002  Lightning's signature
        """Say in the end what had to be skipped."""
        if report := self.stream.faults.report():
            warnings.warn(report, stacklevel=2)

    def on_exception(self, exception: BaseException) -> None:  # noqa: ARG002  Lightning's signature
        """End all workers: Lightning ends those of training or of validation, whichever was under way.

        Before that, see which of them are dead.
        """
        self.deaths = obituary(self._loaders, self.trainer.global_rank)
        CombinedLoader(self._loaders).reset()

    def _loader(self, source: Dataset, positions: Sequence[int] | Positions, batch_size: int) -> DataLoader:
        loader = DataLoader(
            source,
            sampler=positions,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=self.collate,
            worker_init_fn=settle,
            pin_memory=torch.cuda.is_available(),
        )
        self._loaders.append(loader)
        return loader
