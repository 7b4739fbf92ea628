"""What matches agree on, by every estimator alike."""

import importlib.util

import numpy as np
import pytest
import torch

from retracker.inference import verification
from retracker.inference.verification import SAMPLE_SIZE, SOLVERS, NoGeometryError, verify

CAMERA_A, CAMERA_B = (500.0, 510.0, 320.0, 240.0), (600.0, 600.0, 300.0, 250.0)
NUM, NUM_WRONG = 150, 45


@pytest.fixture(scope="module")
def plane():
    """Matches by a homography, the first of them wrong, and the homography."""
    rng = np.random.default_rng(0)
    matrix = np.array([[1.1, 0.1, 5], [-0.05, 0.9, 20], [1e-4, 2e-4, 1]])
    a = rng.uniform(0, 500, (NUM, 2))
    there = np.concatenate([a, np.ones((NUM, 1))], axis=1) @ matrix.T
    b = there[:, :2] / there[:, 2:]
    b[:NUM_WRONG] += rng.uniform(20, 200, (NUM_WRONG, 2))
    return torch.tensor(a).float(), torch.tensor(b).float(), torch.tensor(matrix)


@pytest.fixture(scope="module")
def scene():
    """Matches of points in space, the first of them wrong, and the motion from camera a to camera b."""
    rng = np.random.default_rng(1)
    angle = 0.2
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    translation = np.array([1.0, 0.1, 0.2])
    points = rng.uniform([-2, -2, 4], [2, 2, 8], (NUM, 3))
    a = points[:, :2] / points[:, 2:] * CAMERA_A[:2] + CAMERA_A[2:]
    moved = points @ rotation.T + translation
    b = moved[:, :2] / moved[:, 2:] * CAMERA_B[:2] + CAMERA_B[2:]
    b[:NUM_WRONG, 1] += rng.choice([-1, 1], NUM_WRONG) * rng.uniform(20, 200, NUM_WRONG)  # off their lines
    direction = translation / np.linalg.norm(translation)
    return torch.tensor(a).float(), torch.tensor(b).float(), torch.tensor(rotation), torch.tensor(direction)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_homography_is_found_among_wrong_matches(plane, solver):
    a, b, matrix = plane
    found = verify(a, b, "homography", solver)
    torch.testing.assert_close(found.matrix, matrix, atol=5e-3, rtol=1e-3)
    assert found.inliers.tolist() == [False] * NUM_WRONG + [True] * (NUM - NUM_WRONG)
    assert (found.num_inliers, found.solver, found.kind) == (NUM - NUM_WRONG, solver, "homography")
    assert torch.equal(verify(a, b, "homography", solver).matrix, found.matrix)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_motion_is_found_among_wrong_matches(scene, solver):
    a, b, rotation, direction = scene
    found = verify(a, b, "essential", solver, 1.0, (CAMERA_A, CAMERA_B))
    torch.testing.assert_close(found.rotation, rotation, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.translation, direction, atol=2e-3, rtol=0)
    assert found.inliers[NUM_WRONG:].all() and found.inliers[:NUM_WRONG].sum() <= 3
    x, y, z = found.translation.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    torch.testing.assert_close(found.matrix, cross @ found.rotation / 2**0.5)  # an essential's length


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_fundamental_matrix_puts_inliers_on_their_lines(scene, solver):
    a, b, *_ = scene
    found = verify(a, b, "fundamental", solver)
    one = torch.ones(NUM, 1, dtype=torch.float64)
    lines = torch.cat([a.double(), one], dim=-1) @ found.matrix.T
    off = (torch.cat([b.double(), one], dim=-1) * lines).sum(-1).abs() / lines[:, :2].norm(dim=-1)
    assert off[NUM_WRONG:].median() < 0.1
    assert found.inliers[NUM_WRONG:].float().mean() > 0.95 and found.inliers[:NUM_WRONG].sum() <= 5
    assert found.rotation is found.translation is None


def test_distances_by_hand():
    a = np.array([[10.0, 20.0], [30.0, 40.0]])
    # A camera that moves along x: rows stay rows, and two px off is one px in each image.
    rows = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    np.testing.assert_allclose(
        verification._sampson(rows, a, a + [[5.0, 2.0], [9.0, 0.0]]), [2 / np.sqrt(2), 0], atol=1e-12
    )
    shift = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
    for matrix in (shift, -2 * shift):  # it means the same
        np.testing.assert_allclose(verification._transfer(matrix, a, a + [[3.0, 4.0], [0.0, 0.0]]), [0, 5])


@pytest.mark.parametrize("kind", SAMPLE_SIZE)
@pytest.mark.parametrize("solver", SOLVERS)
def test_matches_that_prove_nothing_give_no_geometry(kind, solver):
    cameras = (CAMERA_A, CAMERA_B)
    few = 100 * torch.rand(SAMPLE_SIZE[kind], 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NoGeometryError, match=f"{len(few)} matches, expected at least {len(few) + 1}"):
        verify(few, few + 3, kind, solver, 3.0, cameras)
    if kind == "homography":  # one place; PoseLib sees a motion in it, as in any two bundles of rays
        one = torch.full((20, 2), 7.0)
        with pytest.raises(NoGeometryError):
            verify(one, one, kind, solver)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "affine"}, "geometry: expected one of homography, fundamental, essential, got 'affine'"),
        ({"solver": "lmeds"}, "solver: expected one of magsac, ransac, poselib, got 'lmeds'"),
        ({"threshold_px": 0.0}, "threshold: expected a positive number of px, got 0"),
        ({"threshold_px": float("nan")}, "threshold: expected a positive number of px, got nan"),
        ({"kind": "essential"}, "needs the cameras of both images"),
        ({"kind": "essential", "cameras": ((1, 1, 0), CAMERA_B)}, "camera: expected fx,fy,cx,cy"),
        ({"kind": "essential", "cameras": (CAMERA_A, (0.0, 1.0, 2.0, 2.0))}, "camera: expected fx,fy,cx,cy"),
    ],
)
def test_a_question_without_sense_is_refused(plane, asked, message):
    with pytest.raises(ValueError, match=message):
        verify(*plane[:2], **({"kind": "homography"} | asked))


def test_poselib_that_is_missing_is_told(plane, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="poselib is not installed"):
        verify(*plane[:2], "homography", "poselib")
