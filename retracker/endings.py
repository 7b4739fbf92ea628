"""How a training ends when it does not end well: in which words, and with which exit code.

0: it is done. 2: to start it again would not help before somebody changes something. 75: it was told to stop,
has saved, and resume=auto goes on. Anything else: it was broken off; resume=auto goes on from what was saved.
"""

import logging
import os
from collections.abc import Iterator, Mapping

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities import rank_zero_only

from retracker.configuration import RunFailed
from retracker.data.faults import DataFault
from retracker.data.stream_module import StreamModule
from retracker.host import FAILURE, STOPPED
from retracker.training.callbacks import Checkpoints
from retracker.training.memory_advice import memory_advice, out_of_memory

log = logging.getLogger(__name__)


def in_one_line(error: Exception, data: StreamModule, cfg: DictConfig) -> Exception | None:
    """What to raise instead of an error that ended training; None where nothing more is known of it."""
    if isinstance(error, DataFault):
        return ValueError(last_line(error))
    if data.deaths:
        return RunFailed(data.deaths)
    if out_of_memory(error):
        return ValueError(memory_advice(error, dict(dotted(OmegaConf.to_container(cfg)))))
    return None


def last_line(error: Exception) -> str:
    """What an error says; one that crossed from a worker says it last, behind a traceback and its name."""
    name = f"{type(error).__module__}.{type(error).__name__}: "
    return str(error).strip().splitlines()[-1].removeprefix(name)


def exit_code(trainer: pl.Trainer) -> int:
    """Of a training that came to an end or was told to."""
    told = [each for each in trainer.callbacks if isinstance(each, Checkpoints) and each.stopped]
    if not told or trainer.global_step >= trainer.max_steps:
        return 0
    # Lightning ends the first process at once when another one that it started does not end with 0.
    own_child = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
    if own_child and not trainer.is_global_zero:
        return 0
    return FAILURE if any(each.unsaved for each in told) else STOPPED


def warn_of_shared_store() -> None:
    """Say so if processes that torchrun restarts will look for each other where they were before."""
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if rank_zero_only.rank == 0 and restarts and shared:
        log.warning(
            "torchrun shares its store with the processes: after a restart they may not find each other; "
            "start it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment"
        )


def dotted(config: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every value of nested mappings, under its keys joined by dots."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
