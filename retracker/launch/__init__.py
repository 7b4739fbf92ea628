"""Where a run runs: what started its processes, what they share, and how to find them again."""
