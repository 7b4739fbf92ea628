"""How tracks are drawn."""

from dataclasses import dataclass
from math import ceil

from retracker.visualize.colouring import SHADES

HIDDEN = (
    "ring",
    "dot",
    "skip",
)  # what a hidden point gets: a hollow mark, that of a visible one, neither mark nor trail


READABLE_PX = 256  # a film is enlarged until it is at least this high


def readable_zoom(height: int) -> int:
    """The whole factor by which frames of that height are enlarged so that marks do not cover them."""
    return max(1, ceil(READABLE_PX / height))


@dataclass(frozen=True, kw_only=True)
class TrackStyle:
    """How tracks are drawn. Raises ValueError for what cannot be drawn."""

    trail: int | None = 12  # how many past frames a trail reaches back; 0 draws none, None goes back to birth
    dimming: float | int = 0.25  # how far the video is faded behind the marks, 0..1
    zoom: int = 1  # the picture is enlarged by this before anything is drawn
    size: float | int = 1.0  # of marks and trails, times what suits the picture
    hidden: str = "ring"
    colour: str = "point"
    compensate: bool = False  # trails show what moves otherwise than the camera
    legend: bool = True  # where the colour means something

    def __post_init__(self) -> None:
        for name, value, known in (("hidden", self.hidden, HIDDEN), ("colour", self.colour, tuple(SHADES))):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if self.trail is not None and self.trail < 0:
            raise ValueError(f"trail: expected a number of frames, got {self.trail}")
        if not 0 <= self.dimming <= 1:
            raise ValueError(f"dimming: expected a share from 0 to 1, got {self.dimming}")
        if self.zoom < 1:
            raise ValueError(f"zoom: expected a whole factor from 1 on, got {self.zoom}")
        if not 0 < self.size < float("inf"):
            raise ValueError(f"size: expected a positive factor, got {self.size}")
