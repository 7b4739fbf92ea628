"""A curve over steps as inline SVG: no script, no font of its own, nothing to fetch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, isfinite, log10

Curve = Sequence[tuple[int, float]]  # (step, value)
WIDTH, HEIGHT = 348, 214  # px
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 46, 26  # px around the curves
COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0e7490", "#be185d")
INK, GREY, GRID = "#1e293b", "#64748b", "#e2e8f0"
POINTS = 240  # of a line: more are not seen
LONG = 40  # points from which on a line has no dots
WINDING = 3  # times its own height that a line goes up and down, from which on it is noisy
SMOOTH = 0.9
TICKS = 4
LETTER, GAP = 5.9, 17  # px, about, in the legend


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn in one frame."""

    title: str
    lines: Mapping[str, Curve]
    from_zero: bool
    marks: Sequence[int] = ()  # steps at which something happened: dotted lines


def draw_chart(chart: Chart) -> str:
    """The SVG; values that are not finite are left out."""
    lines = {name: finite(curve) for name, curve in chart.lines.items()}
    lines = {name: curve for name, curve in lines.items() if curve}
    values = [value for curve in lines.values() for _, value in curve]
    steps = [step for curve in lines.values() for step, _ in curve] + list(chart.marks)
    if not values:
        return ""
    x_ticks = ticks(min(0, *steps), max(1, *steps))
    y_ticks = ticks(0.0 if chart.from_zero else min(values), max(values))
    frame = Frame(0, max(1, *steps), y_ticks[0], y_ticks[-1])
    parts = [axis(frame, x_ticks, y_ticks), *(mark(frame, step) for step in chart.marks)]
    parts += [line(frame, curve, COLOURS[i % len(COLOURS)]) for i, curve in enumerate(lines.values())]
    title = f'<text x="4" y="16" font-size="13" font-weight="600" fill="{INK}">{escape(chart.title)}</text>'
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}" '
    return head + 'xmlns="http://www.w3.org/2000/svg">' + title + legend(lines) + "".join(parts) + "</svg>"


@dataclass(frozen=True)
class Frame:
    """Which values the frame shows."""

    first: float | int
    last: float | int
    low: float | int
    high: float | int

    def x(self, step: float | int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.first) / (self.last - self.first)

    def y(self, value: float | int) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)


def finite(curve: Curve) -> list[tuple[int, float]]:
    return [(step, value) for step, value in curve if isfinite(value)]


def ticks(low: float | int, high: float | int) -> list[float]:
    """Round numbers, the first not above ``low`` and the last not below ``high``."""
    span = (high - low) or abs(high) or 1.0
    unit = 10.0 ** floor(log10(span / TICKS))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor * TICKS >= span * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [step * index for index in range(first, max(last, first + 1) + 1)]


def axis(frame: Frame, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
    shown = []
    for value in y_ticks:
        y = frame.y(value)
        shown.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
            f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" font-size="10" fill="{GREY}" text-anchor="end">'
            f"{short(value)}</text>"
        )
    for value in x_ticks:
        if frame.first <= value <= frame.last:
            shown.append(
                f'<text x="{frame.x(value):.1f}" y="{HEIGHT - 9}" font-size="10" fill="{GREY}" '
                f'text-anchor="middle">{short(value)}</text>'
            )
    return "".join(shown)


def mark(frame: Frame, step: int) -> str:
    x = frame.x(step)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{GREY}" '
        'stroke-dasharray="2 3"/>'
    )


def line(frame: Frame, curve: Curve, colour: str) -> str:
    """One curve: smoothed over its own faint self where it is long and noisy, dots where it is short."""
    if len(curve) == 1:
        x, y = frame.x(curve[0][0]), frame.y(curve[0][1])
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    if len(curve) < LONG:
        dots = "".join(
            f'<circle cx="{frame.x(step):.1f}" cy="{frame.y(value):.1f}" r="2" fill="{colour}"/>'
            for step, value in curve
        )
        return path(frame, curve, colour, 1.6) + dots
    if not noisy(curve):
        return path(frame, curve, colour, 1.6)
    return path(frame, curve, colour, 0.8, faint=True) + path(frame, smoothed(curve), colour, 1.8)


def noisy(curve: Curve) -> bool:
    """Whether a curve goes up and down so often that a mean tells more: a learning rate does not."""
    values = [value for _, value in curve]
    way = sum(abs(after - before) for before, after in pairwise(values))
    return way > WINDING * (max(values) - min(values))


def path(frame: Frame, curve: Curve, colour: str, width: float, *, faint: bool = False) -> str:
    every = ceil(len(curve) / POINTS)
    kept = [*curve[::every], curve[-1]]
    places = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in kept)
    opacity = ' opacity="0.3"' if faint else ""
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"{opacity}/>'


def smoothed(curve: Curve) -> Curve:
    """An average with a memory of about ten points, which is short at the start."""
    found, total, weight = [], 0.0, 0.0
    for step, value in curve:
        total, weight = SMOOTH * total + value, SMOOTH * weight + 1
        found.append((step, total / weight))
    return found


def legend(lines: Mapping[str, Curve]) -> str:
    """The name of each line with its last value, or the names alone where there is no room."""
    texts = [f"{name} {short(curve[-1][1])}".strip() for name, curve in lines.items()]
    if sum(GAP + LETTER * len(text) for text in texts) > WIDTH:
        texts = list(lines)
    x, shown = 4.0, []
    for index, text in enumerate(texts):
        colour = COLOURS[index % len(COLOURS)]
        shown.append(
            f'<circle cx="{x + 3:.1f}" cy="29" r="3" fill="{colour}"/>'
            f'<text x="{x + 9:.1f}" y="32.5" font-size="10" fill="{INK}">{escape(text)}</text>'
        )
        x += GAP + LETTER * len(text)
    return "".join(shown)


def short(value: float | int) -> str:
    """A number as people read it: three digits, thousands as k."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    if value and abs(value) < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-")
    return f"{round(value)}" if abs(value) >= 100 else f"{value:.3g}"
