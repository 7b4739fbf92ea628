"""The summary of a run as one html file that fetches nothing."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from retracker.training.summary import (
    Run,
    checkpoint_rows,
    figures,
    machine,
    markdown,
    outcome,
    read_run,
    scores,
    start_rows,
    ways_on,
)
from retracker.visualize.svg_chart import Chart, draw_chart

# What is drawn together: a title, the names of curves, and whether the axis begins at zero.
CHARTS = (
    ("Loss", ("train/loss", "val/loss"), False),
    ("Validation", ("val/AJ", "val/delta_avg", "val/OA"), True),
    ("Points found, validation", ("val/PCK@1", "val/PCK@3", "val/PCK@5"), True),
    ("Points found, training", ("train/PCK@1", "train/PCK@3", "train/PCK@5"), True),
    ("Relative pose, validation", ("val/pose_AUC@5", "val/pose_AUC@10", "val/pose_AUC@20"), True),
    ("Descriptors, validation", ("val/AP", "val/AP_raw", "val/MMA@3", "val/MMA@3_raw"), True),
    ("End-point error, px", ("train/EPE", "val/EPE"), True),
    ("Terms of the loss", ("train/coarse", "train/position", "train/occlusion", "train/confidence"), False),
    ("Norms", ("norm/gradient",), True),
    ("Learning rate", ("lr", "lr_pretrained"), True),
    ("Clips a second, all ranks", ("speed/clips_per_second",), True),
    ("Share of a step spent waiting for data", ("speed/data_wait",), True),
    ("Seconds a step", ("time/step", "time/forward_backward", "time/data", "time/optimiser"), True),
    ("Memory, MiB", ("speed/memory_mb", "memory/process_mb", "memory/workers_mb"), True),
)
NAMES = {
    "speed/memory_mb": "peak",
    "memory/process_mb": "process",
    "memory/workers_mb": "workers",
    "speed/clips_per_second": "clips/s",
    "speed/data_wait": "data wait",
    "norm/gradient": "gradient",
    "lr_pretrained": "pretrained parts",
    "time/forward_backward": "compute",
}
KEY_SCORES = ("AJ", "pose_AUC@10", "MMA@3")
MAIN_PACKAGES = ("python", "torch", "cuda", "cudnn", "nccl", "pytorch-lightning", "numpy", "timm", "kornia")
STYLE = """
body{margin:0;background:#f8fafc;color:#1e293b;font:14px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:24px;margin:0 0 2px}h2{font-size:15px;margin:30px 0 10px}p{margin:2px 0}
.ended{display:inline-block;padding:2px 10px;border-radius:10px;margin-left:8px;font-size:13px}
.finished{background:#dcfce7;color:#166534}.failed,.lost{background:#fee2e2;color:#991b1b}
.stopped,.running{background:#fef3c7;color:#92400e}.grey{color:#64748b}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(118px,1fr));gap:10px;margin-top:18px}
.tile,.chart,.card{background:#fff;border:1px solid #e2e8f0;border-radius:8px}
.tile{padding:10px 12px}.tile b{display:block;font-size:19px;font-variant-numeric:tabular-nums}
.tile span{color:#64748b;font-size:12px}.chart{padding:8px 6px 2px}.chart svg{display:block;width:100%}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:10px}
.card{padding:2px 14px;overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid #f1f5f9;vertical-align:top}
th{color:#64748b;font-weight:500}tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
code,pre{font:12.5px/1.5 ui-monospace,Menlo,Consolas,monospace}pre{white-space:pre-wrap;word-break:break-all}
td code{word-break:break-all}td.w{white-space:nowrap}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:0 20px;align-items:start}
@media(max-width:520px){.two{grid-template-columns:1fr}}
"""


def write_summary(directory: Path) -> Path:
    """Write ``summary.html`` and ``summary.md`` into a run's directory; returns the page's path.

    Raises ValueError if ``directory`` is not that of a run, OSError if it cannot be written to.
    """
    run = read_run(directory)
    (directory / "summary.md").write_text(markdown(run))
    path = directory / "summary.html"
    path.write_text(page(run))
    return path


def page(run: Run) -> str:
    """The whole page."""
    name, status = escape(run.record["name"]), run.record["status"]
    started = run.record["starts"][0]["started"][:16].replace("T", " ")
    origin = f"{started} &middot; seed {run.record['seed']} &middot; {escape(str(run.directory))}"
    body = [
        f'<h1>{name}<span class="ended {escape(status)}">{escape(status)}</span></h1>',
        f"<p>{escape(outcome(run))}</p>",
        f'<p class="grey">{origin}</p>',
        tiles(run),
        '<h2>Curves <span class="grey">over steps, with the last value; dotted: started again</span></h2>',
        f'<div class="charts">{"".join(charts(run))}</div>',
        f'<div class="two"><div>{score_table(run)}</div><div>{checkpoint_table(run)}</div></div>',
        "<h2>How to go on</h2>",
        table(
            ("", ""), [(words, f"<code>{escape(line)}</code>") for words, line in ways_on(run)], head=False
        ),
        "<h2>Starts</h2>",
        start_table(run),
        "<h2>With what</h2>",
        setting(run),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style><main>{''.join(body)}</main></html>\n"
    )


def tiles(run: Run) -> str:
    """The numbers that one wants to see first."""
    best = [s for s in scores(run) if s.name in KEY_SCORES]
    shown = {f"best validation {s.name}, step {s.best_step:,}": f"{s.best:.3f}" for s in best} | figures(run)
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(words)}</span></div>'
        for words, value in shown.items()
    )
    return f'<div class="tiles">{cells}</div>'


def charts(run: Run) -> Iterable[str]:
    """Every chart that this run has curves for, with a dotted line wherever it was started again."""
    again = [start["first_step"] for start in run.record["starts"][1:]]
    for title, names, from_zero in CHARTS:
        found = {display(name): run.history[name] for name in names if name in run.history}
        if found:
            chart = Chart(title=title, lines=found, from_zero=from_zero, marks=again)
            yield f'<div class="chart">{draw_chart(chart)}</div>'


def display(name: str) -> str:
    """What a curve is called in a legend."""
    group, _, short = name.rpartition("/")
    return NAMES.get(name) or (f"{short} ({group})" if short in ("loss", "EPE") else short)


def score_table(run: Run) -> str:
    rows = [(escape(s.name), f"{s.final:.4g}", f"{s.best:.4g}", f"{s.best_step:,}") for s in scores(run)]
    head = '<h2>Validation <span class="grey">averaged weights</span></h2>'
    if not rows:
        return head + '<p class="grey">There was none yet.</p>'
    return head + table(("score", "final", "best", "at step"), rows, kinds=("", "n", "n", "n"))


def checkpoint_table(run: Run) -> str:
    rows = [(f"<code>{escape(path)}</code>", size, time) for path, size, time in checkpoint_rows(run)]
    if not rows:
        return '<h2>Checkpoints</h2><p class="grey">None was written.</p>'
    return "<h2>Checkpoints</h2>" + table(("file", "size", "written"), rows, kinds=("", "w", "w"))


def start_table(run: Run) -> str:
    rows = [tuple(escape(cell) for cell in row) for row in start_rows(run)]
    return table(("started", "steps", "on", "revision", "ended"), rows, kinds=("w", "w", "w", "w", ""))


def setting(run: Run) -> str:
    """Command, machine, packages, and what changed from start to start."""
    versions = run.record["packages"]
    shown = ", ".join(f"{name} {versions[name]}" for name in MAIN_PACKAGES if name in versions)
    rows = [
        ("command", f"<code>{escape(run.last_start['command'])}</code>"),
        ("machine", escape(machine(run))),
        ("packages", escape(shown) + ' <span class="grey">(all are in run.json)</span>'),
        ("configuration", f"<code>{escape(str(run.directory / 'config.yaml'))}</code>"),
    ]
    for start in run.record["starts"][1:]:
        for what, found in start["changed"].items():
            said = "; ".join(f"{key}: {before} &rarr; {after}" for key, before, after in escaped(found))
            rows += [(f"{what} changed at step {start['first_step']}", said)] if said else []
    return table(("", ""), rows, head=False)


def escaped(found: dict) -> Iterable[tuple[str, str, str]]:
    """What changed, fit for html."""
    return ((escape(key), escape(str(before)), escape(str(after))) for key, (before, after) in found.items())


def table(
    names: Sequence[str], rows: Sequence[Sequence[str]], *, kinds: Sequence[str] = (), head: bool = True
) -> str:
    """Cells are html already. ``kinds`` of columns: n for numbers, w for what is not to be broken."""
    marks = [f' class="{kind}"' if kind else "" for kind in kinds or [""] * len(names)]
    top = "".join(f"<th{mark}>{name}</th>" for mark, name in zip(marks, names, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="card"><table>{f"<tr>{top}</tr>" if head else ""}{body}</table></div>'
