"""HPatches on sequences in exactly the public structure, whose homographies are known."""

import importlib.util
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from presets import open_benchmark
from skimage import data

from retracker.benchmarks.homography_solvers import NoHomographyError, PoseLibHomography, direct_linear
from retracker.benchmarks.protocol import Matched
from retracker.geometry.coords import rescale
from retracker.geometry.homography import for_indices, transform

PRESETS = ("loftr", "roma", "gluefactory_opencv", "gluefactory_poselib")
SOLVABLE = [
    pytest.param(
        preset,
        marks=pytest.mark.skipif(
            preset == "gluefactory_poselib" and importlib.util.find_spec("poselib") is None,
            reason="needs poselib",
        ),
    )
    for preset in PRESETS
]
SIZE = (240, 320)  # height, width
TILTED = np.array([[0.9, 0.1, 12.0], [-0.05, 1.1, -4.0], [2e-4, -1e-4, 1.0]])
SHIFT = np.array([[1.0, 0.0, 6.0], [0.0, 1.0, 8.0], [0.0, 0.0, 1.0]])
NAMES = ("i_ajuntament", "i_dc", "v_abstract")  # i_dc is left out


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three sequences: under other light the images are shifted, too, so that there is something to find."""
    root = tmp_path_factory.mktemp("hpatches")
    write(root, "i_ajuntament", SHIFT)
    write(root, "i_dc", SHIFT)
    write(root, "v_abstract", TILTED)
    return root


def write(root, name, matrix):
    folder = root / "hpatches-sequences-release" / name
    folder.mkdir(parents=True)
    first = cv2.resize(data.astronaut(), SIZE[::-1], interpolation=cv2.INTER_AREA)[..., ::-1]
    cv2.imwrite(str(folder / "1.ppm"), first)
    for number in range(2, 7):
        cv2.imwrite(str(folder / f"{number}.ppm"), cv2.warpPerspective(first, matrix, SIZE[::-1]))
        np.savetxt(folder / f"H_1_{number}", matrix, fmt="%.10f")


def oracle(benchmark, item, noise=0.0, count=300):
    """Matches that are right as the preset has it, but for the noise (px of the stored image 1)."""
    del benchmark
    rng = torch.Generator().manual_seed(0)
    xy = torch.rand(count, 2, generator=rng, dtype=torch.float64) * torch.tensor([SIZE[1], SIZE[0]])
    there, _ = transform(item.homography, xy)
    there = there + noise * torch.randn(count, 2, generator=rng, dtype=torch.float64)

    def match(image0, image1):
        sizes = [tuple(image.shape[-2:]) for image in (image0, image1)]
        points0, points1 = rescale(xy, SIZE, sizes[0]).float(), rescale(there, SIZE, sizes[1]).float()
        return Matched(
            points0=points0,
            points1=points1,
            confidence=torch.linspace(0, 1, count),
            keypoints0=points0,
            keypoints1=points1,
        )

    return match


def nothing(image0, image1):
    del image0, image1
    none = torch.zeros(0, 2)
    return Matched(points0=none, points1=none, confidence=none[:, 0], keypoints0=none, keypoints1=none)


def in_place(image0, image1):
    """Everything stays where it is, in px of the image shown."""
    del image1
    height, width = image0.shape[-2:]
    xy = torch.cartesian_prod(torch.linspace(0, width, 12), torch.linspace(0, height, 12))
    return Matched(points0=xy, points1=xy, confidence=torch.ones(len(xy)))


def evaluate(benchmark, matcher_of):
    scores = {}
    for index in range(len(benchmark)):
        item = benchmark.read(index)
        cv2.setRNGSeed(0)
        scores[benchmark.item_name(index)] = benchmark.score(
            item, benchmark.ask(matcher_of(benchmark, item), item)
        )
    return scores


def test_pairs_are_image_1_with_each_other_but_of_what_is_left_out(root):
    benchmark = open_benchmark("hpatches", root)
    names = [benchmark.item_name(index) for index in range(len(benchmark))]
    assert names[:2] == ["i_ajuntament/1-2", "i_ajuntament/1-3"] and len(set(names)) == 10
    assert {benchmark.group(index) for index in range(5)} == {"illumination"}
    assert {benchmark.group(index) for index in range(5, 10)} == {"viewpoint"}
    assert benchmark.protocol["sequences"] == "2 of 108" and "i_dc" in benchmark.protocol["left_out"]
    assert benchmark.title == "HPatches (loftr: OpenCV RANSAC, 3 px) (2 of 108 sequences)"


def test_an_item_is_what_lies_in_the_files(root):
    item = open_benchmark("hpatches", root).read(7)
    assert item.image0.shape == item.image1.shape == (3, *SIZE)
    np.testing.assert_allclose(for_indices(item.homography).numpy(), TILTED, atol=1e-9)
    first = cv2.resize(data.astronaut(), SIZE[::-1], interpolation=cv2.INTER_AREA)
    assert np.array_equal(item.image0.permute(1, 2, 0).numpy(), first)


@pytest.mark.parametrize("preset", SOLVABLE)
def test_an_oracle_scores_100(root, preset):
    benchmark = open_benchmark("hpatches", root, f"protocol={preset}")
    summary = benchmark.summarise(evaluate(benchmark, oracle)).values
    for column in benchmark.columns:
        if column.percent:
            assert summary[column.metric] == pytest.approx(1, abs=5e-5), column.heading
    assert summary["matches"] == 300 and summary["inliers"] == 300


@pytest.mark.parametrize("preset", SOLVABLE)
def test_no_match_scores_nothing(root, preset):
    benchmark = open_benchmark("hpatches", root, f"protocol={preset}")
    scores = evaluate(benchmark, lambda *_: nothing)
    summary = benchmark.summarise(scores).values
    assert [summary[column.metric] for column in benchmark.columns] == [0.0] * len(benchmark.columns)
    error = scores["v_abstract/1-4"]["corner_error"]
    assert error == float("inf") if preset != "roma" else 100 < error < 1000


def test_a_homography_that_stays_is_off_by_the_shift(root):
    # Index (0, 0) and all others move by (6, 8): 10 px of an image whose short side is 240, not 480.
    scores = evaluate(open_benchmark("hpatches", root, "protocol=roma"), lambda *_: in_place)
    pair = scores["i_ajuntament/1-2"]
    assert pair["corner_error"] == pytest.approx(20, abs=1e-3)
    assert pair["closeness"] == 0 and pair["inliers"] == 144
    assert [pair[f"mma_{px}"] for px in (9, 10)] == [0.0, 1.0]  # px as stored: at most 10 of them
    scores = evaluate(open_benchmark("hpatches", root, "protocol=loftr"), lambda *_: in_place)
    pair = scores["i_ajuntament/1-2"]
    assert pair["corner_error"] == pytest.approx(20, abs=1e-3)
    assert pair["mma_10"] == 0.0  # px of the enlarged image: 20 of them


def test_the_files_count_pixel_indices_or_else_from_the_corner(root):
    """A pixel of image 1 is found where the first preset says; the other one reads the same numbers."""
    by_index, from_corner = (
        open_benchmark("hpatches", root, f"protocol={preset}") for preset in ("roma", "gluefactory_opencv")
    )
    double = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))
    dot = np.zeros((40, 40), np.uint8)
    dot[7, 5] = 255
    moved = cv2.warpPerspective(dot, double.numpy(), (40, 40)).astype(np.float64)  # how the files are made
    y, x = np.mgrid[:40, :40] + 0.5
    seen = [(moved * x).sum() / moved.sum(), (moved * y).sum() / moved.sum()]
    there, _ = transform(by_index.rules.truth(double), torch.tensor([[5.5, 7.5]], dtype=torch.float64))
    assert there[0].tolist() == pytest.approx(seen) == [10.5, 14.5]
    assert torch.equal(from_corner.rules.truth(double), double)


def roma_error(points0, points1, matrix):
    """As RoMa's benchmark computes it, from raster points."""
    height, width = SIZE
    found, _ = cv2.findHomography(
        points0 - np.float32(0.5),
        points1 - np.float32(0.5),
        method=cv2.RANSAC,
        confidence=0.99999,
        ransacReprojThreshold=3 * min(width, height) / 480,
    )
    corners = np.array([[0, 0, 1], [0, height - 1, 1], [width - 1, 0, 1], [width - 1, height - 1, 1]])
    true, ours = corners @ matrix.T, corners @ found.T
    apart = true[:, :2] / true[:, 2:] - ours[:, :2] / ours[:, 2:]
    return np.linalg.norm(apart, axis=1).mean() / (min(width, height) / 480)


def gluefactory_error(points0, points1, matrix):
    """As glue-factory computes it, from points in the resized images: here twice as large."""
    scale = np.diag([2.0, 2.0, 1.0])
    matrix = scale @ matrix @ np.linalg.inv(scale)
    found, _ = cv2.findHomography(points0, points1, cv2.RANSAC, 0.5, maxIters=3000, confidence=0.995)
    width, height = 640, 480
    total = 0
    for corner in ([0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]):
        true, ours = matrix @ corner, found @ corner
        total += np.sqrt(((true[:2] / true[2] - ours[:2] / ours[2]) ** 2).sum())
    return total / 4


@pytest.mark.parametrize(
    ("preset", "official"), [("roma", roma_error), ("gluefactory_opencv", gluefactory_error)]
)
def test_corner_errors_are_those_of_the_official_computation(root, preset, official):
    benchmark = open_benchmark("hpatches", root, f"protocol={preset}")
    for index in (0, 5):
        item = benchmark.read(index)
        given = []

        def match(image0, image1, item=item, given=given):
            matched = oracle(benchmark, item, noise=2.0)(image0, image1)
            wrong = torch.rand(60, 2, generator=torch.Generator().manual_seed(1)) * 200
            given.append(replace(matched, points1=torch.cat([wrong, matched.points1[60:]])))
            return given[-1]

        score = benchmark.score(item, benchmark.ask(match, item))
        points = (given[0].points0.numpy(), given[0].points1.numpy())
        matrix = np.loadtxt(
            root / "hpatches-sequences-release" / benchmark.item_name(index).split("/")[0] / "H_1_2"
        )
        assert 0.1 < score["corner_error"] < 60
        assert score["corner_error"] == pytest.approx(official(*points, matrix), rel=1e-9)


def test_the_surest_matches_alone_are_solved_with(root):
    benchmark = open_benchmark("hpatches", root, "protocol=loftr", "protocol.homography.max_matches=50")
    item = benchmark.read(0)

    def match(image0, image1):
        matched = oracle(benchmark, item)(image0, image1)  # the surest are last
        points1 = matched.points1.clone()
        points1[:250] += 30.0
        return replace(matched, points1=points1)

    score = benchmark.score(item, benchmark.ask(match, item))
    assert score["corner_error"] < 1e-3 and score["inliers"] == 50 and score["matches"] == 300
    assert score["mma_10"] == pytest.approx(50 / 300)  # of all


def test_of_the_keypoints_of_the_shared_view_the_share_that_is_matched_right_counts(root):
    """Four keypoints of image 0 are shared, and three of image 1; one of three matches is wrong."""
    benchmark = open_benchmark("hpatches", root, "protocol=roma")
    item = benchmark.read(0)  # a shift by (6, 8)
    keypoints0 = torch.tensor([[10.0, 10], [50, 60], [70, 80], [90, 90], [319, 100], [5, 239]])
    keypoints1 = torch.tensor([[16.0, 18], [56, 70.9], [300, 200], [3, 100], [5, 6]])
    answer = Matched(
        points0=keypoints0[:3],
        points1=keypoints1[:3],
        confidence=torch.ones(3),
        keypoints0=keypoints0,
        keypoints1=keypoints1,
    )
    score = benchmark.score(item, benchmark.ask(lambda *_: answer, item))
    assert [score[f"matching_score_{px}"] for px in (1, 3)] == pytest.approx(
        [(1 / 4 + 1 / 3) / 2, (2 / 4 + 2 / 3) / 2]
    )
    assert score["mma_3"] == pytest.approx(2 / 3)


def test_a_matcher_without_keypoints_has_no_matching_score(root):
    benchmark = open_benchmark("hpatches", root, "protocol=roma")
    scores = evaluate(benchmark, lambda *_: in_place)
    summary = benchmark.summarise(scores)
    assert np.isnan(summary.values["matching_score_3"]) and summary.values["mma_10"] > 0.5
    assert summary.undefined["matching_score_3"] == list(scores)
    with_one = scores | evaluate(benchmark, oracle)  # all of them again
    assert benchmark.summarise(with_one).undefined == {}


def test_half_of_the_keypoints_are_refused(root):
    benchmark = open_benchmark("hpatches", root)
    item = benchmark.read(0)

    def match(image0, image1):
        return replace(nothing(image0, image1), keypoints1=None)

    with pytest.raises(ValueError, match="i_ajuntament/1-2: expected keypoints .K, 2. of both images"):
        benchmark.ask(match, item)


def test_the_linear_fit_weighs_matches_by_confidence():
    rng = np.random.default_rng(0)
    points0 = rng.uniform(0, 300, (40, 2))
    moved = np.concatenate([points0, np.ones((40, 1))], 1) @ TILTED.T
    points1 = moved[:, :2] / moved[:, 2:]
    points1[:10] += 50
    weights = np.ones(40)
    weights[:10] = 0
    found = direct_linear(points0, points1, weights)
    np.testing.assert_allclose(found / found[2, 2], TILTED, atol=1e-7)
    worse = direct_linear(points0, points1, weights + 0.01)
    assert np.abs(worse / worse[2, 2] - TILTED).max() > 1e-3
    with pytest.raises(NoHomographyError, match="3 correspondences"):
        direct_linear(points0, points1, (np.arange(40) < 3).astype(float))
    with pytest.raises(NoHomographyError, match="all points"):
        direct_linear(np.ones((5, 2)), points1[:5], np.ones(5))


def test_the_linear_fit_is_that_of_kornia():
    kornia = pytest.importorskip("kornia.geometry.homography")
    rng = np.random.default_rng(1)
    points0, weights = rng.uniform(0, 300, (50, 2)), np.ones(50)
    points1 = points0 * 1.2 + rng.normal(size=(50, 2)) * 3
    theirs = kornia.find_homography_dlt(
        *(torch.from_numpy(part[None]) for part in (points0, points1, weights)), solver="svd"
    )[0].numpy()
    ours = direct_linear(points0, points1, weights)
    np.testing.assert_allclose(ours / ours[2, 2], theirs, rtol=1e-6, atol=1e-9)


def test_the_normalisation_of_the_linear_fit_has_no_weights():
    """As kornia had it when glue-factory's numbers were made; the same system, by an SVD of its rows."""
    kornia = pytest.importorskip("kornia.geometry.epipolar")
    rng = np.random.default_rng(2)
    points0, weights = rng.uniform(0, 300, (50, 2)), rng.uniform(0.1, 1, 50)
    points1 = points0 * 1.2 + rng.normal(size=(50, 2)) * 3
    (xy0, to0), (xy1, to1) = (
        [part[0].numpy() for part in kornia.normalize_points(torch.from_numpy(points[None]))]
        for points in (points0, points1)
    )
    rows = []
    for (x, y), (u, v), weight in zip(xy0, xy1, weights, strict=True):
        rows.append(np.sqrt(weight) * np.array([0, 0, 0, -x, -y, -1, v * x, v * y, v]))
        rows.append(np.sqrt(weight) * np.array([x, y, 1, 0, 0, 0, -u * x, -u * y, -u]))
    theirs = np.linalg.inv(to1) @ np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3) @ to0
    ours = direct_linear(points0, points1, weights)
    np.testing.assert_allclose(ours / ours[2, 2], theirs / theirs[2, 2], rtol=1e-6, atol=1e-9)


def test_points_on_a_line_have_no_homography_whatever_poselib_did_before():
    pytest.importorskip("poselib")
    rng = np.random.default_rng(0)
    solve, points = PoseLibHomography(options={}), rng.uniform(0, 400, (200, 2))
    assert solve(points, points * 1.1 + 3, 1.0).inliers.all()
    line = np.repeat(points[:, :1], 2, axis=1)
    with pytest.raises(NoHomographyError):
        solve(line, line * 1.1 + 3, 1.0)


def test_a_picture_and_the_arrays_of_an_answer(root, tmp_path):
    benchmark = open_benchmark("hpatches", root)
    item = benchmark.read(5)
    answer = benchmark.ask(oracle(benchmark, item, noise=3.0), item)
    assert benchmark.picture(item, answer, tmp_path / "pair").name == "pair.png"
    arrays = benchmark.arrays(item, answer)
    assert arrays["points0"].shape == arrays["points1"].shape == (300, 2) and arrays["size0"].tolist() == [
        *SIZE
    ]


def test_a_protocol_without_homographies_is_refused(root):
    with pytest.raises(ValueError, match="superglue_yfcc does not say how homographies are measured"):
        open_benchmark("hpatches", root, "protocol=superglue_yfcc")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("H_1_4", None, "v_there: expected 1.ppm to 6.ppm and H_1_2 to H_1_6, has no H_1_4"),
        ("H_1_4", "1 0 0 0 1 0", "H_1_4: expected the nine numbers of a homography"),
        ("H_1_4", "1 0 0 0 1 0 0 0 one", "H_1_4: expected the nine numbers of a homography"),
        ("H_1_4", "1 0 0 0 1 0 0 0 0", "H_1_4: expected a homography that can be inverted"),
        ("4.ppm", "P6 320 240 255\nno", "4.ppm: cannot be read as an image"),
    ],
)
def test_a_broken_sequence_is_told_in_one_line(tmp_path, name, content, message):
    write(tmp_path, "v_there", TILTED)
    file = tmp_path / "hpatches-sequences-release" / "v_there" / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=message) as told:
        benchmark = open_benchmark("hpatches", tmp_path)
        benchmark.read(2)
    assert "\n" not in str(told.value)


def test_a_root_without_sequences_is_told(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="has nothing of HPatches; expected hpatches-sequences-release"
    ):
        open_benchmark("hpatches", tmp_path)
    write(tmp_path, "i_dc", SHIFT)
    with pytest.raises(ValueError, match="has no sequence i_... or v_... to be evaluated"):
        open_benchmark("hpatches", tmp_path)
