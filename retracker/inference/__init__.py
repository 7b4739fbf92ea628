"""Ways to run a trained network: on a stream, a clip, a pair of images, or behind co-tracker's signature."""
