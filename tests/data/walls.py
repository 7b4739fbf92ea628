"""Posed pairs that need no files."""

import torch

from retracker.data.pairs import Pairs
from retracker.types import PairSample


class Walls(Pairs):
    """Pairs that show a wall, from the same place, in a few scenes."""

    def __init__(self, scenes):
        super().__init__(16)
        self.scenes = scenes

    def __len__(self):
        return len(self.scenes)

    def scene(self, index):
        return self.scenes[index]

    def name(self, index):
        return f"walls/{index}"

    def view(self, index, side):
        raise AssertionError(f"view {side} of {index}: walls are made as whole pairs, see __getitem__")

    def __getitem__(self, index):
        return self.pair(index, index, 2.0)

    def negative(self, index, other):
        assert self.scenes[index] != self.scenes[other]
        return self.pair(index, other, 0.0)

    def pair(self, index, other, depth1):
        camera = torch.tensor([[10.0, 0, 8], [0, 10, 8], [0, 0, 1]], dtype=torch.float64)
        image = torch.full((3, 16, 16), index, dtype=torch.uint8)
        return PairSample(
            image0=image,
            image1=torch.full_like(image, other),
            size0=torch.tensor([16, 16]),
            size1=torch.tensor([16, 16]),
            depth0=torch.full((16, 16), 2.0),
            depth1=torch.full((16, 16), depth1),
            intrinsics0=camera,
            intrinsics1=camera,
            pose_0to1=torch.eye(4, dtype=torch.float64),
            name=f"walls/{index}-{other}",
        )
