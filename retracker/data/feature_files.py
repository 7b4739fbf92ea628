"""Keypoints that somebody else's detector left in a file beside each image."""

from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from retracker.data.faults import DataFault
from retracker.data.feature_pairs import Extractor, Picture, StoredAt
from retracker.data.sources import named
from retracker.media.features import read_features
from retracker.types import LocalFeatures


class FeatureFiles(Extractor):
    """The features of image ``x.jpg`` from ``x<suffix>`` beside it, in pixels of the image as it is stored.

    Of a picture that is a part of it, the first ``max_keypoints`` that lie there. ``pixel_centre``: what the
    detector calls the centre of the upper-left pixel, 0 (SuperPoint, ALIKE) or 0.5.
    """

    def __init__(self, suffix: str, max_keypoints: int, pixel_centre: float | int) -> None:
        if not suffix.endswith(".npz") or max_keypoints < 1:
            raise ValueError(
                f"extractor: expected a suffix that ends in .npz and max_keypoints of at least 1, "
                f"got {suffix!r} and {max_keypoints}"
            )
        self.suffix, self.max_keypoints, self.pixel_centre = suffix, max_keypoints, pixel_centre

    def find(self, picture: Picture) -> LocalFeatures:
        """Features of a picture. Raises DataFault where it is made, and part of no file.

        Raises CorruptSample for a file that is missing or broken.
        """
        place = picture.stored
        if place is None:
            raise DataFault(
                "extractor: features are read from files, but these pictures are made: take views of files, "
                "as in data=booster_megadepth"
            )
        path = str(PurePosixPath(place.path).with_suffix("")) + self.suffix
        read = partial(read_features, size=place.size, pixel_centre=self.pixel_centre)
        with named(place.index):
            features = place.storage.load(path, read)
        return cut_out(features, place, picture, self.max_keypoints)


def cut_out(features: LocalFeatures, place: StoredAt, picture: Picture, most: int) -> LocalFeatures:
    """The features of a stored image that lie in a part of it, at the part's scale."""
    height, width = picture.pixels.shape[-2:]
    xy = features.xy * features.xy.new_tensor(place.scale) - features.xy.new_tensor(place.corner)
    inside = ((xy >= 0) & (xy < xy.new_tensor([width, height]))).all(-1).nonzero()[:most, 0]
    geometry = features.geometry[inside]
    if geometry.shape[-1] == 2:  # size and angle: a size shrinks with its image
        mean = sum(place.scale) / 2
        geometry = geometry * geometry.new_tensor([mean, 1.0])
    return replace(
        features,
        xy=xy[inside],
        geometry=geometry,
        descriptors=features.descriptors[inside],
        present=features.present[inside],
        size=features.size.new_tensor([height, width]),
    )
