"""What processes would tell each other in every batch for nothing is left out."""

import inspect

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from retracker.training.callbacks import Checkpoints


def speak_less(trainer: pl.Trainer) -> None:
    """Before training: no broadcast of buffers, and none of signals, which are told in each step anyhow."""
    if isinstance(trainer.strategy, DDPStrategy):
        # Batch statistics are frozen: no buffer ever differs. Gradients are reduced where they lie.
        buffers = "forward_sync_buffers"  # whose older name newer versions of torch warn of
        if buffers not in inspect.signature(DistributedDataParallel).parameters:
            buffers = "broadcast_buffers"
        trainer.strategy._ddp_kwargs |= {buffers: False, "gradient_as_bucket_view": True}
    if any(isinstance(callback, Checkpoints) for callback in trainer.callbacks):
        # Lightning asks whether it has caught SIGTERM: it has not, Checkpoints does.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
