"""The embedded renderer: clips with exact tracks, from nothing but a seed."""

from retracker.data.synthetic.render import render
from retracker.data.synthetic.settings import ClipSettings

__all__ = ["ClipSettings", "render"]
