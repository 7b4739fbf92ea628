"""Where a run runs: what started its processes, what they share, and how to find them again."""

DATE = "RETRACKER_DATE"  # the environment variable that names a run: all its processes and starts share it
