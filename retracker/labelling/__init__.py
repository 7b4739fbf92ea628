"""Pseudo-labels: what trackers say of unlabelled films, as far as it can be checked."""
