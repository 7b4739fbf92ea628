"""Tracks, matches and heat maps drawn on frames."""
