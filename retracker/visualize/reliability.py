"""A reliability diagram: what was said against what came true, and how often it was said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from retracker.visualize.curves import CHOSEN, GREY, OTHERS, blank, plain, save

SIZE = (6.0, 6.6)  # inches


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Bins of equal width from 0 to 1; ``said`` and ``came`` mean nothing where ``count`` is 0."""

    said: Sequence[float]  # mean confidence
    came: Sequence[float]  # share that came true
    count: Sequence[int]


def write_reliability(path: Path, title: str, whole: Bins, groups: Mapping[str, Bins]) -> Path:
    """Draw all answers as bars, groups of them as lines, and a histogram beneath, into a PNG.

    Returns the path.
    """
    with style.context("default"):
        figure = blank(title, SIZE)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        draw_diagram(upper, whole, groups)
        draw_histogram(lower, whole)
        return save(path, figure)


def draw_diagram(axes: Axes, whole: Bins, groups: Mapping[str, Bins]) -> None:
    """Bars of what came true, the gap to what was said, and the diagonal where both agree."""
    width = 1 / len(whole.count)
    left = [width * index for index, count in enumerate(whole.count) if count]
    filled = [
        (said, came) for said, came, count in zip(whole.said, whole.came, whole.count, strict=True) if count
    ]
    came = [pair[1] for pair in filled]
    gap = [said - came for said, came in filled]
    axes.bar(left, came, 0.92 * width, align="edge", color=OTHERS[0], alpha=0.30, label="came true")
    axes.bar(
        left, gap, 0.92 * width, came, align="edge", color=CHOSEN, alpha=0.35, label="gap to what was said"
    )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle="--")
    for index, (name, bins) in enumerate(groups.items()):
        points = [(a, b) for a, b, n in zip(bins.said, bins.came, bins.count, strict=True) if n]
        x, y = zip(*points, strict=True)
        axes.plot(
            x,
            y,
            color=OTHERS[1 + index % (len(OTHERS) - 1)],
            marker="o",
            markersize=3,
            linewidth=1.1,
            label=name,
        )
    axes.set_ylabel("visible, and within 8 px")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    plain(axes)
    axes.legend(fontsize=9, frameon=False, loc="upper left")


def draw_histogram(axes: Axes, whole: Bins) -> None:
    """How many answers lie in each bin, as shares of all."""
    width, total = 1 / len(whole.count), sum(whole.count)
    left = [width * index for index in range(len(whole.count))]
    axes.bar(
        left, [count / total for count in whole.count], 0.92 * width, align="edge", color=GREY, alpha=0.7
    )
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel(f"share of {total:,}")
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    plain(axes)
