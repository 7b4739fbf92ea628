"""What became of a run, on one page: ``summary.html`` and, shorter, ``summary.md``."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from retracker.training.history import Curve, read_history
from retracker.training.run_record import FILE, read_record

LOWER_IS_BETTER = ("EPE", "loss", "skipped")
MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that a run's directory tells."""

    directory: Path
    record: Mapping
    history: Mapping[str, Curve]
    checkpoints: Sequence[Path]

    @property
    def last_start(self) -> Mapping:
        return self.record["starts"][-1]


@dataclass(frozen=True)
class Score:
    """How a validation score ended, and when it was best."""

    name: str
    final: float
    best: float
    best_step: int


def read_run(directory: Path) -> Run:
    """Raises ValueError if there is no ``run.json`` that this version reads."""
    record = read_record(directory / FILE)
    if record is None:
        raise ValueError(f"{directory}: expected the directory of a run, with a readable {FILE} in it")
    found = sorted((directory / "checkpoints").glob("*.ckpt"), key=lambda path: path.name)
    return Run(directory=directory, record=record, history=read_history(directory), checkpoints=found)


def scores(run: Run) -> list[Score]:
    """The validation scores, positions before losses."""
    found = []
    for name, curve in run.history.items():
        if name.startswith("val/") and not name.endswith("/skipped"):
            short = name.removeprefix("val/")
            choose = min if short.split("_")[-1] in LOWER_IS_BETTER else max
            best_step, best = choose(curve, key=lambda point: point[1])
            found.append(Score(short, curve[-1][1], best, best_step))
    return found


def figures(run: Run) -> dict[str, str]:
    """The numbers that one wants to see first, with what they are."""
    record, shown = run.record, {}
    shown["steps"] = f"{record['steps']:,} of {record['planned_steps']:,}"
    shown["clips seen"] = f"{record['total_clips']:,}"
    shown["time in training"] = duration(record["starts"])
    for name, words, form in (
        ("speed/clips_per_second", "clips a second, median", "{:.3g}"),
        ("speed/data_wait", "waiting for data, median", "{:.1%}"),
        ("time/step", "seconds a step, median", "{:.3g}"),
        ("speed/memory_mb", "peak memory, MiB", "{:,.0f}"),
    ):
        if name in run.history:
            values = [value for _, value in run.history[name]]
            chosen = max(values) if name.endswith("_mb") else median(values)
            shown[words] = form.format(chosen)
    return shown


def outcome(run: Run) -> str:
    """One sentence on how the run ended."""
    starts, how = run.record["starts"], run.last_start["exit"]
    how = how or "running, or killed: nothing was written since " + run.last_start["ended"]
    times = "once" if len(starts) == 1 else f"{len(starts)} times"
    return f"{how}. Started {times}; {refused(run)}."


def refused(run: Run) -> str:
    """How many steps were refused, and which."""
    steps = run.record["refused_steps"]
    if not steps:
        return "no step was refused"
    return f"{len(steps)} refused (not finite): {', '.join(map(str, steps[-8:]))}; see refused/"


def ways_on(run: Run) -> list[tuple[str, str]]:
    """What one may want to do next, and the command."""
    folder, options = run.directory, shlex.split(run.last_start["command"])[1:]
    given = [word for word in options if not word.startswith(("resume=", "paths.output_dir="))]
    ways = []
    if run.record["steps"] < run.record["planned_steps"]:
        again = shlex.join([*given, "resume=auto", f"paths.output_dir={in_hydra(folder)}"])
        ways.append(("Go on", f"python -m retracker.train {again}"))
    for path in [path for path in run.checkpoints if path.name == "best.ckpt"] or run.checkpoints[-1:]:
        if "booster" in str(run.record["config"]["model"].get("_target_")):
            continue  # it follows no points
        ckpt = f"ckpt={in_hydra(path)}"
        ways.append(("Evaluate", f"python -m retracker.eval benchmark=synthetic_val {shlex.quote(ckpt)}"))
        ways.append(("Track", f"retracker track VIDEO --grid 20 --ckpt {shlex.quote(str(path))}"))
    return [*ways, ("Curves and pictures", f"tensorboard --logdir {shlex.quote(str(folder))}")]


def in_hydra(value: object) -> str:
    """A value of an override in Hydra's words, which give a meaning to signs such as = and a comma."""
    text = str(value)
    if not set(text) & set("=,'\"(){}[]: "):
        return text
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def checkpoint_rows(run: Run) -> list[tuple[str, str, str]]:
    """Path in the run's directory, size and time of each checkpoint."""
    return [
        (
            str(path.relative_to(run.directory)),
            f"{path.stat().st_size / MEBIBYTE:.1f} MiB",
            f"{datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}",
        )
        for path in run.checkpoints
    ]


def start_rows(run: Run) -> list[tuple[str, ...]]:
    """When, from and to which step, on how many processes of what, at which revision, and how it ended."""
    rows = []
    for start in run.record["starts"]:
        dirty = " + changes" if start["dirty"] else ""
        rows.append(
            (
                start["started"][:19].replace("T", " "),
                f"{start['first_step']} to {start['last_step']}",
                f"{start['world_size']} x {start['device'].partition(':')[0]}, {start['precision']}",
                f"{(start['revision'] or 'no git')[:10]}{dirty}",
                start["exit"] or "-",
            )
        )
    return rows


def machine(run: Run) -> str:
    """The machine of the latest start in one line."""
    here, start = run.last_start["hardware"], run.last_start
    gpus = ", ".join(f"{gpu['name']} {gpu['memory_gb']} GB" for gpu in here["gpus"]) or "no GPU"
    driver = f", driver {here['driver']}" if here["driver"] else ""
    memory = "" if here["memory_gb"] is None else f", {here['memory_gb']} GB"
    several = f"{len(start['hosts'])} machines ({', '.join(start['hosts'][:4])}): "
    cores = f"{here['cpu'] or 'a processor'}, {here['cores']} cores{memory}"
    return f"{several if len(start['hosts']) > 1 else ''}{cores}; {gpus}{driver}; {here['system']}"


def duration(starts: Sequence[Mapping]) -> str:
    """The time of all starts together."""
    total = sum((elapsed(start) for start in starts), timedelta())
    return str(timedelta(seconds=round(total.total_seconds())))


def elapsed(start: Mapping) -> timedelta:
    ended = datetime.fromisoformat(start["ended"] or start["started"])
    return ended - datetime.fromisoformat(start["started"])


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def markdown(run: Run) -> str:
    """The page in short."""
    lines = [f"# {run.record['name']}: {outcome(run)}", ""]
    lines += [f"- {words}: {value}" for words, value in figures(run).items()]
    lines += ["", "| validation | final | best | at step |", "|---|---:|---:|---:|"]
    lines += [f"| {s.name} | {s.final:.4g} | {s.best:.4g} | {s.best_step} |" for s in scores(run)]
    lines += ["", "| started | steps | on | revision | ended |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in start_rows(run)]
    lines += ["", machine(run), ""]
    lines += [f"- {path} ({size}, {time})" for path, size, time in checkpoint_rows(run)]
    lines += [""] + [f"{words}: `{command}`" for words, command in ways_on(run)]
    return "\n".join(lines) + "\n"
