"""python examples/camera.py [0 | rtsp://... | clip.mp4]: follow a grid of points live."""

import sys

import retracker
from retracker.inference.live import LiveTracker
from retracker.inference.predictor import grid_with_margin
from retracker.media.camera import open_camera

source = sys.argv[1] if len(sys.argv) > 1 else "0"
tracker = retracker.OnlineTracker(retracker.load("tiny"))
try:
    with open_camera(source) as camera, LiveTracker(tracker, camera) as live:
        for answer in live:
            if len(answer.found.ids) == 0:
                tracker.add_queries(grid_with_margin(*answer.frame.shape[-2:], 8))
            points = answer.found.tracks[answer.found.visible]
            sys.stdout.write(f"{len(points)} points seen, {answer.dropped} frames dropped\n")
except (ValueError, OSError) as error:  # no camera, or one that stopped
    sys.exit(f"camera.py: {error}")
sys.stdout.write(f"{live.report()}\n")
