"""Scores over thresholds, drawn as lines: one panel for each kind of score, one line for each method."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from retracker.media.files import replacing

PANEL = (5.6, 4.2)  # inches
DOTS = 150  # an inch
CHOSEN = "#c2410c"
OTHERS = ("#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0e7490", "#be185d")
MARKS = ("s", "^", "D", "v", "P", "X")
GREY = "#64748b"
MOST_TICKS = 8  # on the axis of thresholds, each one or every ...
STEPS = (1, 2, 5, 10, 20, 50, 100, 1000)
LETTERS = 58  # of the title, a panel
LARGEST_STEP = 1.8  # between thresholds: where they grow faster than this, the axis is logarithmic


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One kind of score."""

    title: str
    thresholds: Sequence[float | int]
    unit: str  # of the thresholds
    lines: Mapping[
        str, Sequence[float]
    ]  # by method, in [0, 1]; NaN where there is none. The last one is "ours"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One quantity over time."""

    title: str
    label: str  # its unit
    x: Sequence[float | int]
    y: Sequence[float | int]


def write_curves(path: Path, title: str, panels: Sequence[Panel]) -> Path:
    """Draw panels side by side into a PNG, the same bytes for the same numbers. Returns the path.

    Raises ValueError if a line does not have one value for each threshold, or there is nothing to draw.
    """
    check(panels)
    with style.context("default"):  # not the style of who runs it
        return save(path, draw(title, panels))


def write_measured(path: Path, title: str, axis: str, panels: Sequence[Measured]) -> Path:
    """Draw quantities side by side over one ``axis`` into a PNG. Returns the path."""
    with style.context("default"):
        figure = blank(title, (PANEL[0] * len(panels), PANEL[1]))
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.plot(panel.x, panel.y, color=CHOSEN, marker="o", markersize=4, linewidth=2)
            axes.set_title(panel.title, fontsize=11, loc="left")
            axes.set_xlabel(axis)
            axes.set_ylabel(panel.label)
            axes.set_ylim(0, 1.25 * max(panel.y))  # from 0: what grows by a percent should not look steep
            plain(axes)
        return save(path, figure)


def check(panels: Sequence[Panel]) -> None:
    if not panels or not all(panel.lines and panel.thresholds for panel in panels):
        raise ValueError("curves: expected at least one panel, with thresholds and a line in each")
    for panel in panels:
        for name, values in panel.lines.items():
            if len(values) != len(panel.thresholds):
                expected = len(panel.thresholds)
                raise ValueError(
                    f"curves, {panel.title}: expected {expected} values of {name}, got {len(values)}"
                )


def draw(title: str, panels: Sequence[Panel]) -> Figure:
    figure = blank(title, (PANEL[0] * len(panels), PANEL[1]))
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_panel(axes, panel)
    return figure


def blank(title: str, size: tuple[float, float]) -> Figure:
    """A figure of (width, height) inches with nothing but its title."""
    figure = Figure(figsize=size, dpi=DOTS, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    lines = textwrap.wrap(title, round(LETTERS * size[0] / PANEL[0]))
    figure.suptitle("\n".join(lines), fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def save(path: Path, figure: Figure) -> Path:
    """Write a figure as a PNG, the same bytes for the same figure. Returns the path."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})  # its version would be written
    return path


def plain(axes: Axes) -> None:
    """A faint grid, and no frame but a base line."""
    axes.grid(color=GREY, alpha=0.25, linewidth=0.8)
    axes.tick_params(length=0, labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def draw_panel(axes: Axes, panel: Panel) -> None:
    """One panel: lines, then axes, grid and legend."""
    for index, (name, values) in enumerate(panel.lines.items()):
        ours = index + 1 == len(panel.lines)
        axes.plot(
            panel.thresholds,
            values,
            label=name,
            color=CHOSEN if ours else OTHERS[index % len(OTHERS)],
            marker="o" if ours else MARKS[index % len(MARKS)],
            markersize=6 if ours else 4.5,
            linewidth=2.6 if ours else 1.4,
            linestyle="-" if ours else "--",
            zorder=3 if ours else 2,
            clip_on=False,
        )
    scale(axes, panel.thresholds)
    axes.set_title(panel.title, fontsize=11, loc="left")
    axes.set_xlabel(f"threshold ({panel.unit})")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    plain(axes)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], fontsize=9, frameon=True, framealpha=0.85, edgecolor="none")


def scale(axes: Axes, thresholds: Sequence[float | int]) -> None:
    """A tick at each threshold, or at some of many; the axis is logarithmic where thresholds double."""
    steps = [after / before for before, after in zip(thresholds, thresholds[1:], strict=False) if before > 0]
    if steps and min(steps) >= LARGEST_STEP:
        axes.set_xscale("log", base=2)
    every = next(step for step in STEPS if len(thresholds) <= MOST_TICKS * step)
    ticks = thresholds[every - 1 :: every]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
