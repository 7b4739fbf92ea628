"""Image encoders: each turns frames into L2-normalised maps, coarse to fine, whose cells know their place."""
