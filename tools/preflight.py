"""Look at this machine before a run: python tools/preflight.py [--json] [--processes N] [override ...].

Takes the overrides of a training (none: +experiment=tracking) and says whether it could run: GPUs, driver,
disk, shared memory, and that all processes can add up a number together. Under torchrun or srun every process
of the run takes part, and all compare revision, packages and clocks. Exit code 2 if something must be put
right first; each such line says what. run_a100.sh calls it unless RETRACKER_SKIP_CHECKS=1.
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from retracker.checkpoint import build_net
from retracker.configuration import compose_config, run_command
from retracker.host import MISTAKE
from retracker.launch import DATE
from retracker.launch.checks import FAILURE, OK, WARNING, Finding, Plan, machine
from retracker.launch.group import MAX_SKEW, Facts, GroupFault, differences, facts, meet, meet_own, skew
from retracker.launch.place import ALONE, Place, place, run_id

SECONDS = 60  # that processes wait for one another


def main(argv: Sequence[str] | None = None) -> int:
    """Check, and say what was found; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    parser.add_argument("--processes", type=int, help="of training, on this machine; default: one per GPU")
    parser.add_argument(
        "--timeout", type=int, default=SECONDS, help="seconds that processes wait for one another"
    )
    arguments, overrides = parser.parse_known_args(words)
    here, date = place(os.environ), run_id(os.environ)
    if date is not None:
        os.environ[DATE] = date
    cfg = compose_config("train", overrides or ["+experiment=tracking"])
    plan = plan_of(cfg, here, arguments.processes)
    findings = list(machine(plan))
    told = [facts()]
    if not any(finding.level == FAILURE for finding in findings):
        told, met = together(here, plan, arguments.timeout)
        findings += met
    chosen = choices(cfg, here, plan, told)
    if arguments.processes is not None:
        chosen["launcher"] = "torchrun, which is next"
    (show_json if arguments.json else show)(chosen, findings, first=here.rank == 0)
    if any(finding.level == FAILURE for finding in findings):
        sys.exit(MISTAKE)


def plan_of(cfg: DictConfig, here: Place, num_processes: int | None) -> Plan:
    """What the configuration asks of this machine. Raises ValueError for a model that cannot be built."""
    on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    if num_processes is None:
        num_processes = (
            num_alone(cfg.trainer.devices, on_gpu=on_gpu) if here.launcher == ALONE else here.local_size
        )
    with torch.device("meta"):
        net = build_net(OmegaConf.to_container(cfg.model, resolve=True))
    auto = "bf16-mixed" if on_gpu else "32-true"
    return Plan(
        output_dir=Path(cfg.paths.output_dir),
        num_processes=num_processes,
        num_workers=cfg.data.num_workers,
        num_parameters=sum(p.numel() for p in net.parameters()),
        precision=auto if cfg.trainer.precision == "auto" else str(cfg.trainer.precision),
        on_gpu=on_gpu,
        num_checkpoints=cfg.callbacks.checkpoints.keep + 2,
        wants_gpu=cfg.trainer.accelerator in ("gpu", "cuda"),
        own_gpu=None if here.launcher == ALONE else here.rank % here.local_size,
    )


def num_alone(devices: object, *, on_gpu: bool) -> int:
    """How many processes Lightning starts for ``trainer.devices``."""
    if isinstance(devices, ListConfig):
        return len(devices)
    if str(devices).isdigit() and int(devices) > 0:
        return int(devices)
    return torch.cuda.device_count() if on_gpu else 1


def together(here: Place, plan: Plan, seconds: int) -> tuple[list[Facts], list[Finding]]:
    """All processes of the run meet, where there are several: what each tells, and what that means."""
    try:
        if here.launcher != ALONE and here.world_size > 1:
            told = meet(here, os.environ, seconds, on_gpu=plan.on_gpu)
            return told, list(compared(told))
        if plan.num_processes > 1:
            told = meet_own(plan.num_processes, seconds, on_gpu=plan.on_gpu)
            return told, [Finding("all-reduce", OK, f"{plan.num_processes} processes of this machine")]
    except GroupFault as error:
        return [facts()], [Finding("all-reduce", FAILURE, str(error))]
    return [facts()], []


def compared(told: Sequence[Facts]) -> Iterator[Finding]:
    """What the hosts' facts mean together."""
    hosts = list(dict.fromkeys(each.host for each in told))
    yield Finding("all-reduce", OK, f"{len(told)} processes on {', '.join(hosts)}")
    for difference in differences(told):
        yield Finding("same code", FAILURE, difference)
    seconds = skew(told)
    late = seconds > MAX_SKEW
    yield Finding(
        "clocks", WARNING if late else OK, f"{seconds:.1f} s apart" + (": set them by NTP" if late else "")
    )


def choices(cfg: DictConfig, here: Place, plan: Plan, told: Sequence[Facts]) -> dict[str, object]:
    """What is about to run, and where."""
    several = here.launcher != ALONE
    searching = cfg.resume == "auto" and DATE not in os.environ
    return {
        "host": socket.gethostname(),
        "launcher": here.launcher,
        "nodes": here.num_nodes,
        "processes": here.world_size if several else plan.num_processes,
        "precision": plan.precision,
        "batch": f"{cfg.data.batch_size} x {here.world_size if several else plan.num_processes} processes x "
        f"{cfg.trainer.accumulate_grad_batches}",
        "parameters": plan.num_parameters,
        "data_root": cfg.data_root,
        "output_dir": str(plan.output_dir) + (" or that of the newest run of this name" if searching else ""),
        "resume": cfg.resume,
        "revision": told[0].revision,
        "versions": dict(told[0].versions),
    }


def show(chosen: dict[str, object], findings: Sequence[Finding], *, first: bool) -> None:
    """Lines for people: everything of the first process, of others what is not right."""
    if first:
        versions = "  ".join(f"{name} {version}" for name, version in chosen.pop("versions").items())
        lines = [f"{name:<14}{value}" for name, value in {**chosen, "versions": versions}.items()]
        sys.stdout.write("\n".join(lines) + "\n")
    shown = [finding for finding in findings if first or finding.level != OK]
    sys.stdout.write("".join(f"{each.level:<8} {each.check}: {each.told}\n" for each in shown))
    for each in findings:
        if each.level == FAILURE:
            sys.stderr.write(f"error: {socket.gethostname()}: {each.check}: {each.told}\n")
    sys.stdout.flush()


def show_json(chosen: dict[str, object], findings: Sequence[Finding], *, first: bool) -> None:
    """The same for programs."""
    told = {**chosen, "first": first, "findings": [asdict(finding) for finding in findings]}
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
