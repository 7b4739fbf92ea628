"""Local features as matchers: neighbours by hand, photographs under known homographies, boosted ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from skimage import data

from retracker.benchmarks.local_matchers import LocalMatcher, euclidean, hamming
from retracker.benchmarks.neighbours import matched, mutual_neighbours
from retracker.benchmarks.photo_homographies import PhotoHomographies
from retracker.benchmarks.protocol import Contestant
from retracker.checkpoint import save_safetensors
from retracker.commands.boosters import LoadedBooster
from retracker.commands.contestants import contestant_of, settings_of
from retracker.configuration import compose_config
from retracker.data.local_features import Orb, Sift, pack_bits
from retracker.eval import main
from retracker.models.descriptor import boost, build_booster
from retracker.types import LocalFeatures

ROOT = Path(__file__).parents[2]
RELEASED = ROOT.parent / "shared" / "assets" / "SIFT+Boost-F.pth"
CONFIGS = ROOT / "configs"
AS_RELEASED = {"keypoint_encoder": True, "cross_boosting": True, "attention": "aft", "dropout": 0.0}


@pytest.fixture(scope="module")
def photograph():
    small = cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Files of boosters before their first step, by preset."""
    folder, files = tmp_path_factory.mktemp("boosters"), {}
    for preset in ("SIFT+Boost-F", "SIFT+Boost-B", "ORB+Boost-B"):
        torch.manual_seed(0)
        config = {"_target_": "retracker.models.descriptor.build_booster", "preset": preset, **AS_RELEASED}
        files[preset] = folder / f"{preset}.safetensors"
        save_safetensors(build_booster(preset, **AS_RELEASED), config, files[preset])
    return files


def flipped(image):
    """Turned by 180 degrees: a point (x, y) goes to (width - x, height - y)."""
    return image.flip(-1, -2).contiguous()


def turned_errors(found, size):
    return (found.points1 - (torch.tensor([size[1], size[0]]) - found.points0)).norm(dim=-1)


def test_only_who_chooses_each_other_is_matched():
    distance = torch.tensor([[1.0, 4.0, 2.0], [0.5, 3.0, 3.0], [9.0, 9.0, 8.0]])
    found = mutual_neighbours(distance, None)  # 0 wants 0, which prefers 1; 2 wants 2, which prefers 0
    assert (found.index0.tolist(), found.index1.tolist()) == ([1], [0])
    assert found.confidence.tolist() == pytest.approx([1 - 0.5 / 3.0])


def test_the_ratio_test_asks_for_a_second_best_that_is_farther():
    distance = torch.tensor([[1.0, 1.25], [3.0, 1.0]])
    assert mutual_neighbours(distance, None).index0.tolist() == [0, 1]
    assert mutual_neighbours(distance, 0.8).index0.tolist() == [1]  # 1 / 1.25 is not below 0.8
    assert mutual_neighbours(distance, 0.81).index0.tolist() == [0, 1]


def test_equal_descriptors_are_no_division_by_zero():
    found = mutual_neighbours(torch.zeros(3, 3), None)
    assert found.confidence.isfinite().all() and found.index0.tolist() == [0]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 5), (5, 1)])
def test_with_less_than_two_keypoints_there_is_nothing_to_compare(shape):
    found = mutual_neighbours(torch.ones(shape), None)
    answer = matched(torch.ones(shape[0], 2), torch.ones(shape[1], 2), found)
    assert len(answer.points0) == len(answer.points1) == len(answer.confidence) == 0
    assert len(answer.keypoints0) == shape[0] and len(answer.keypoints1) == shape[1]


def test_distances_are_those_of_their_definitions():
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(n, 16, generator=rng), dim=-1) for n in (7, 5))
    torch.testing.assert_close(euclidean(a, b), torch.cdist(a, b), atol=1e-5, rtol=0)
    assert euclidean(a, a).diagonal().max() < 1e-3  # rounding never makes a root of a negative number
    bits_a, bits_b = a.sign(), b.sign()
    by_bytes = [
        [cv2.norm(pack_bits(x).numpy(), pack_bits(y).numpy(), cv2.NORM_HAMMING) for y in bits_b]
        for x in bits_a
    ]
    assert hamming(bits_a, bits_b).tolist() == by_bytes


@pytest.mark.parametrize("extractor", [Sift(500), Orb(500)], ids=["sift", "orb"])
def test_a_photograph_turned_by_180_degrees_is_found_in_raster_pixels(extractor, photograph):
    found = LocalMatcher(extractor, None, None)(photograph, flipped(photograph))
    errors = turned_errors(found, (256, 256))
    assert len(errors) > 150 and (errors < 1).float().mean() > 0.75
    near = (found.points1 - (256 - found.points0))[errors < 1]
    assert near.mean(dim=0).abs().max() < 0.1  # half a pixel in either would be one here
    assert len(found.keypoints0) >= len(found.points0)
    right = errors[found.confidence >= found.confidence.median()] < 1
    assert right.float().mean() >= (errors < 1).float().mean()  # the surer, the better


def test_what_a_booster_says_is_compared(photograph):
    """Descriptors that say nothing but in which column a keypoint lies match by that alone."""

    class Columns:
        binary = False

        def __call__(self, features: LocalFeatures) -> torch.Tensor:
            angle = features.xy[:, 0] / 256 * 3
            return torch.stack([angle.cos(), angle.sin()], dim=-1)

    found = LocalMatcher(Sift(300), Columns(), None)(photograph, flipped(photograph))
    assert len(found.points0) > 50
    assert (found.points0[:, 0] - found.points1[:, 0]).abs().max() < 10


def test_bits_are_compared_by_hamming_distance_and_floats_by_euclidean(photograph, untrained):
    for preset, extractor in (
        ("SIFT+Boost-F", Sift(200)),
        ("SIFT+Boost-B", Sift(200)),
        ("ORB+Boost-B", Orb(200)),
    ):
        booster = LoadedBooster(str(untrained[preset]), "cpu")
        matcher = LocalMatcher(extractor, booster, None)
        assert matcher.binary == booster.binary == preset.endswith("B")
        boosted = booster(extractor(photograph))
        if booster.binary:
            assert set(boosted.unique().tolist()) <= {-1.0, 1.0} and boosted.shape[1] == 256
            assert torch.equal(boosted > 0, boost(booster.net, extractor(photograph)) >= 0)
        else:
            torch.testing.assert_close(boosted.norm(dim=-1), torch.ones(len(boosted)))
        found = matcher(photograph, photograph)
        assert len(found.points0) > 0.9 * len(found.keypoints0)
        assert torch.equal(found.points0, found.points1)


def test_a_binary_booster_may_be_compared_before_its_numbers_become_bits(photograph, untrained):
    path = str(untrained["ORB+Boost-B"])
    real, bits = LoadedBooster(path, "cpu", bits=False), LoadedBooster(path, "cpu")
    features = Orb(200)(photograph)
    numbers = real(features)
    torch.testing.assert_close(numbers.norm(dim=-1), torch.ones(len(numbers)))
    assert torch.equal(torch.where(numbers >= 0, 1.0, -1.0), bits(features))
    assert bits.binary and not LocalMatcher(Orb(200), real, None).binary


def test_the_released_booster_makes_more_right_matches_of_sift():
    """On photographs that are not in its training, in steep perspective and other light."""
    if not RELEASED.exists():
        pytest.skip("no ../shared/assets/SIFT+Boost-F.pth beside this checkout")
    cfg = compose_config("eval", ["benchmark=photo_homographies", "matcher=sift"]).benchmark
    benchmark: PhotoHomographies = instantiate(cfg, _convert_="all")
    raw, boosted = (
        LocalMatcher(Sift(1000), booster, None) for booster in (None, LoadedBooster(str(RELEASED), "cpu"))
    )
    chosen = (50, 56, 62, 68, 74)
    scores = [
        [
            benchmark.score(item, benchmark.ask(matcher, item))["matching_score_3"]
            for matcher in (raw, boosted)
        ]
        for item in map(benchmark.read, chosen)
    ]
    before, after = np.mean(scores, axis=0)
    assert after > before + 0.02


def test_flat_images_have_no_matches(untrained):
    flat = torch.full((3, 80, 90), 120, dtype=torch.uint8)
    for extractor, preset in ((Sift(100), "SIFT+Boost-F"), (Orb(100), "ORB+Boost-B")):
        for booster in (None, LoadedBooster(str(untrained[preset]), "cpu")):
            found = LocalMatcher(extractor, booster, None)(flat, flat)
            assert found.points0.shape == found.keypoints1.shape == (0, 2)


def test_a_booster_for_other_features_is_told(photograph, untrained):
    matcher = LocalMatcher(Sift(100), LoadedBooster(str(untrained["ORB+Boost-B"]), "cpu"), None)
    with pytest.raises(ValueError, match="256.*128|128.*256") as told:
        matcher(photograph, photograph)
    assert "\n" not in str(told.value)


def test_an_image_without_keypoints_is_no_fault_whatever_length_a_booster_gives(photograph, untrained):
    """SIFT's 128 numbers become 256 bits: those of an empty image, too."""
    matcher = LocalMatcher(Sift(100), LoadedBooster(str(untrained["SIFT+Boost-B"]), "cpu"), None)
    flat = torch.full((3, 64, 64), 90, dtype=torch.uint8)
    for pair in ((photograph, flat), (flat, photograph), (flat, flat)):
        assert len(matcher(*pair).points0) == 0


def test_a_ratio_that_none_can_pass_is_told():
    with pytest.raises(ValueError, match="above 0 and up to 1, or null; got 0"):
        LocalMatcher(Sift(100), None, 0)


def contestant(name, **keys):
    """What a yaml of configs/matcher stands for, as the command makes it."""
    keys = {"device": "cpu", "booster": None} | keys
    node = OmegaConf.merge(keys, {"matcher": OmegaConf.load(CONFIGS / "matcher" / f"{name}.yaml")}).matcher
    OmegaConf.resolve(node)
    return node


@pytest.mark.parametrize("name", ["sift_mnn", "orb"])
def test_the_raw_ones_can_be_chosen(name, photograph):
    made: Contestant = contestant_of(contestant(name))
    assert made.name == name and made.settings["booster"] is None
    assert len(made.method(photograph, photograph).points0) > 100


def test_settings_name_a_booster_by_its_content_not_by_its_place(untrained, tmp_path):
    file = untrained["SIFT+Boost-F"]
    other = tmp_path / file.name
    other.write_bytes(file.read_bytes())
    told, again = (settings_of(contestant("sift_boosted", booster=str(path))) for path in (file, other))
    assert told == again and told["booster"]["weights"] == file.name and len(told["booster"]["sha256"]) == 64
    assert "device" not in told["booster"] and told["extractor"]["max_keypoints"] == 2048
    orb = settings_of(contestant("orb_boosted", booster=str(untrained["ORB+Boost-B"])))
    assert orb["booster"]["sha256"] != told["booster"]["sha256"]


def test_raw_and_boosted_stand_side_by_side(untrained, tmp_path, capsys):
    words = ["benchmark=photo_homographies", "matcher=sift_boosted", "baselines=[sift_mnn]", "limit=2"]
    booster = f"booster='{untrained['SIFT+Boost-F']}'"
    assert main([*words, booster, "worst=0", "device=cpu", f"outputs={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert "sift_boosted" in said and "sift_mnn" in said and "M.score" in said


@pytest.mark.parametrize(
    ("booster", "message"),
    [
        ("null", "a boosted matcher needs a FeatureBooster: booster=<path of its weights>"),
        ("/no/such/file.pth", "there is no checkpoint '/no/such/file.pth'"),
        ("7", "booster: expected a path or null, got 7"),
        ("tiny", "expected a FeatureBooster, it holds a ReTracker"),
    ],
)
def test_a_booster_that_there_is_not_is_told_in_one_line(booster, message, tmp_path, capsys):
    words = ["benchmark=photo_homographies", "matcher=sift_boosted", f"booster={booster}", "limit=1"]
    assert main([*words, "baselines=[]", f"outputs={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
