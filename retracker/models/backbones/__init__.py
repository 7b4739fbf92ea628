"""Image encoders: each turns frames into L2-normalised maps, coarse to fine, that know where their cells lie."""
