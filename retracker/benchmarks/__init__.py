"""Benchmarks: their clips, their protocol, their score. Each is given a tracker as a plain callable."""
