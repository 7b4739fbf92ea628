"""Train: ``python -m retracker.train +experiment=tracking [hydra overrides]``."""

import ctypes
import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

from retracker.checkpoint import (
    build_net,
    fill,
    fitted,
    load,
    load_backbone_weights,
    load_booster,
)
from retracker.configuration import compose_config, run_command
from retracker.data.feature_module import FeatureDataModule
from retracker.endings import exit_code, in_one_line, warn_of_shared_store
from retracker.host import die_with_parent
from retracker.launch import DATE
from retracker.launch.place import run_id, trainer_settings
from retracker.launch.processes import recorded
from retracker.losses.booster import BoosterLoss
from retracker.models.booster_start import hand_through
from retracker.models.descriptor import FeatureBooster
from retracker.models.layers.attention import choose_kernel
from retracker.models.tracker import ReTracker
from retracker.resuming import checkpoint_to_resume, run_to_resume
from retracker.training.booster import BoosterModule
from retracker.training.callbacks import Preempted
from retracker.training.global_batch import keep_global_batch
from retracker.training.held_out import HeldOutLabels
from retracker.training.match_pictures import MatchPictures
from retracker.training.net_module import NetModule
from retracker.training.pictures import Pictures
from retracker.training.pose_validation import PoseValidation
from retracker.training.quiet import speak_less
from retracker.training.run_record import RunRecord
from retracker.training.summary_page import write_summary

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
OF_BOOSTERS = (FeatureBooster, BoosterModule, BoosterLoss, FeatureDataModule)  # all else: of trackers
OF_TRACKERS = (Pictures, MatchPictures, PoseValidation, HeldOutLabels)  # callbacks
NOT_FOR_USERS = (  # Lightning's remarks on what is meant here: frozen parts in eval mode; and on itself
    r".*module\(s\) in eval mode.*",
    r".*LeafSpec.*",
    r".*when logging on epoch level in distributed setting.*",  # what we log is of all processes already
    r".*torch.distributed.nn.functional.all_gather is deprecated.*",
)


def train(cfg: DictConfig) -> pl.Trainer:
    """Run a training to ``trainer.max_steps`` and return the trainer, which knows all that came of it."""
    set_up_process(cfg)
    resume = checkpoint_to_resume(cfg)
    data = build_data(cfg)
    module = build_module(cfg, fresh=resume is None)
    check_kinds({"model": type(module.net), "data": type(data)})
    chosen = {name: instantiate(callback, _convert_="all") for name, callback in cfg.callbacks.items()}
    check_callbacks(module.net, chosen)
    callbacks = list(chosen.values())
    record = OmegaConf.to_container(cfg, resolve=True)
    callbacks.append(RunRecord(cfg.paths.output_dir, record, write_summary))
    logger = instantiate(cfg.logger, _convert_="all")
    trainer = build_trainer(cfg, callbacks, logger)
    keep_global_batch(trainer, cfg.global_batch, cfg.data.batch_size)
    save_config(cfg, trainer)
    try:
        with recorded(Path(cfg.paths.output_dir), os.environ, trainer.global_rank):
            trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except Preempted:
        pass  # the callback that raised it says so: exit_code
    except (RuntimeError, MemoryError) as error:
        told = in_one_line(error, data, cfg)
        if told is None:
            raise
        raise told from None
    return trainer


def set_up_process(cfg: DictConfig) -> None:
    """Seed every generator, share the cores among the processes of this machine, and let logs be seen."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    if "LOCAL_RANK" in os.environ:  # started by torchrun, or by the first process
        die_with_parent(signal.SIGKILL)
        warn_of_shared_store()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        own = cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        torch.set_num_threads(max(1, own - cfg.data.num_workers))  # threads that wait for workers only spin
    torch.set_float32_matmul_precision("high")
    keep_freed_memory()
    for message in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)
    lightning = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    lightning.addFilter(lambda record: "litlogger" not in record.getMessage())  # an advertisement


def keep_freed_memory() -> None:
    """Let glibc use again what is freed instead of giving it back: an eighth less time per step on a CPU."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # another C library: it does as it likes
    set_option(M_MMAP_THRESHOLD, 2**30)
    set_option(M_TRIM_THRESHOLD, 2**31 - 1)


def build_data(cfg: DictConfig) -> pl.LightningDataModule:
    """The data of ``cfg.data``. Raises FileNotFoundError, saying how to tell where it lies, if none does."""
    try:
        return instantiate(cfg.data, _convert_="all")
    except InstantiationException as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise FileNotFoundError(
            f"{error.__cause__} (data sets are expected in {cfg.data_root}: say data_root=<folder or URL>)"
        ) from None


def build_module(cfg: DictConfig, *, fresh: bool) -> NetModule:
    """The net of ``cfg.model``, with backbone weights if training starts afresh, and how to train it."""
    net_config = fitted(OmegaConf.to_container(cfg.model, resolve=True))
    net = build_net(net_config)
    module = instantiate(cfg.module, _convert_="all")
    loss = type(module.keywords.get("loss"))
    check_kinds({"model": type(net), "module": module.func, "loss@module.loss": loss})
    if fresh:
        give_weights(net, cfg)
    set_up_net(net, cfg)
    try:
        return module(net=net, net_config=net_config)
    except TypeError as error:  # the constructor's answer to a key that it does not know
        raise ValueError(f"module: {error}") from error


def check_kinds(parts: Mapping[str, type]) -> None:
    """Raise ValueError if of a configuration's groups some are for boosters and others for trackers."""
    for_boosters = [group for group, kind in parts.items() if issubclass(kind, OF_BOOSTERS)]
    for_trackers = [group for group in parts if group not in for_boosters]
    if for_boosters and for_trackers:
        raise ValueError(
            f"{', '.join(for_boosters)} as chosen: for a FeatureBooster; {', '.join(for_trackers)}: for a "
            "tracker; choose all for the same net, as +experiment=booster and +experiment=tracking do"
        )


def check_callbacks(net: nn.Module, callbacks: Mapping[str, pl.Callback]) -> None:
    """Raise ValueError if callbacks would look at what only a tracker finds, and the net is none."""
    theirs = [
        f"callbacks.{name}" for name, callback in callbacks.items() if isinstance(callback, OF_TRACKERS)
    ]
    if theirs and not isinstance(net, ReTracker):
        raise ValueError(
            f"{', '.join(theirs)}: of what a tracker finds, and the net is a {type(net).__name__}; "
            "choose callbacks=booster"
        )


def set_up_net(net: nn.Module, cfg: DictConfig) -> None:
    """How the net computes what it computes: nothing of this is in a checkpoint."""
    choose_kernel(net, cfg.attention)
    encode, follow = cfg.recompute.encode, cfg.recompute.follow
    if isinstance(net, ReTracker):
        net.recompute(encode=encode, follow=follow)
    elif encode or follow:
        raise ValueError(f"recompute: only of trackers, which have frames; the net is a {type(net).__name__}")
    if cfg.compile:
        net.compile()


def give_weights(net: nn.Module, cfg: DictConfig) -> None:
    """What a fresh training starts from: all weights of ``ckpt``, or the backbone's of ``pretrained``.

    A booster has no backbone, and starts with the descriptors as they are.
    """
    if cfg.ckpt is not None:
        read = load_booster if isinstance(net, FeatureBooster) else load
        fill(net, read(str(cfg.ckpt)).state_dict(), str(cfg.ckpt))
        log.info("weights: %s", cfg.ckpt)
        if isinstance(net, ReTracker):
            log.info("thresholds and most_enlarged are the configuration's: see tools/fit_thresholds.py")
    elif cfg.pretrained == "none":
        return
    elif isinstance(net, FeatureBooster):
        if cfg.pretrained != "auto":
            raise ValueError(
                f"pretrained: a booster takes auto or none, and files by ckpt; got {cfg.pretrained!r}"
            )
        hand_through(net)
        log.info("the booster starts by handing descriptors through (pretrained=none: random)")
    else:
        log.info("backbone: %s", load_backbone_weights(net, cfg.pretrained, Path(cfg.paths.cache_dir)))


def build_trainer(cfg: DictConfig, callbacks: list[pl.Callback], logger: object) -> pl.Trainer:
    """Lightning's trainer; ``precision: auto`` is bf16 where there is a GPU to compute with it, else fp32.

    Under torchrun and SLURM there are as many devices and nodes as they say, whatever ``cfg`` says.
    """
    precision = cfg.trainer.precision
    if precision == "auto":
        on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator in ("auto", "gpu", "cuda")
        precision = "bf16-mixed" if on_gpu else "32-true"
    own = {"callbacks": callbacks, "logger": logger, "precision": precision}
    trainer = instantiate(cfg.trainer, _convert_="all", **own, **trainer_settings(os.environ))
    speak_less(trainer)
    return trainer


def save_config(cfg: DictConfig, trainer: pl.Trainer) -> None:
    """Leave beside the checkpoints what they were trained with."""
    if trainer.is_global_zero:
        directory = Path(cfg.paths.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(cfg, directory / "config.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the overrides say; returns the exit code (2 after a user's mistake, told in one line)."""
    return run_command(run, argv)


def run(arguments: Sequence[str]) -> None:
    """Compose the configuration, train, and say where everything is."""
    date = run_id(os.environ)
    if date is not None:  # all that torchrun or SLURM start, and start again, write to the same place
        os.environ[DATE] = date
    cfg = compose_config("train", arguments)
    if cfg.resume == "auto" and date is None:
        left = run_to_resume(cfg)
        if left is not None:
            os.environ[DATE] = left.name
            cfg = compose_config("train", arguments)
    # The processes of other GPUs are children of this one: they write to the same place.
    os.environ.setdefault(DATE, cfg.paths.date)
    trainer = train(cfg)
    if trainer.is_global_zero:
        report(cfg, trainer)
    if code := exit_code(trainer):
        sys.exit(code)


def report(cfg: DictConfig, trainer: pl.Trainer) -> None:
    """Say how far training came, where its checkpoints are and how to look at its curves."""
    console = Console(soft_wrap=True, highlight=False)
    stopped = "" if trainer.global_step >= trainer.max_steps else " (stopped early; resume=auto goes on)"
    console.print(f"trained {trainer.global_step} steps{stopped}")
    console.print(f"checkpoints: {Path(cfg.paths.output_dir) / 'checkpoints'}")
    console.print(f"summary: {Path(cfg.paths.output_dir) / 'summary.html'}")
    console.print(f"curves and pictures: tensorboard --logdir {shlex.quote(str(cfg.paths.output_dir))}")


if __name__ == "__main__":
    sys.exit(main())
