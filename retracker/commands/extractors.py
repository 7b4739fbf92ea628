"""What finds keypoints, by its name: ready to be called, with its weights."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from retracker.backbone_weights import load_installed
from retracker.data.local_features import Extractor, Orb, Sift
from retracker.models.backbones.xfeat_keypoints import XFeatKeypoints


def xfeat(max_keypoints: int) -> XFeatKeypoints:
    """XFeat with its released weights; FileNotFoundError if the package that carries them is missing."""
    detector = XFeatKeypoints(max_keypoints).eval()
    for target in detector.weight_targets():
        load_installed(target)
    return detector


EXTRACTORS: Mapping[str, Callable[[int], Extractor]] = MappingProxyType(
    {"sift": Sift, "orb": Orb, "xfeat": xfeat}
)
