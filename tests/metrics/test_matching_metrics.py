import numpy as np

from retracker.metrics.matching import matching_accuracy, matching_score, transfer_errors

TILTED = np.array([[1.1, 0.2, 5.0], [-0.1, 0.9, 3.0], [1e-3, -2e-3, 1.0]])


def official(points0, points1, homography, thresholds):
    """D2-Net's share of right matches, match by match; a pair without matches has one infinitely wrong."""
    errors = []
    for (x0, y0), (x1, y1) in zip(points0, points1, strict=True):
        x, y, w = homography @ [x0, y0, 1.0]
        errors.append(np.sqrt((x / w - x1) ** 2 + (y / w - y1) ** 2))
    errors = np.array(errors or [np.inf])
    return [np.mean(errors <= t) for t in thresholds]


def test_an_error_is_the_distance_in_the_second_image():
    points = np.array([[0.0, 0.0], [1.0, 2.0]])
    errors = transfer_errors(points, points * 2 + [[3.0, 4.0], [0.0, 0.0]], np.diag([2.0, 2.0, 1.0]))
    assert errors.tolist() == [5.0, 0.0]


def test_a_match_right_at_the_threshold_counts():
    assert matching_accuracy(np.array([0.0, 1.0, 1.5, 40.0]), (1, 2, 3.5)) == [0.5, 0.75, 0.75]


def test_a_pair_without_matches_has_none_that_are_right():
    assert matching_accuracy(np.zeros(0), (1, 3)) == [0.0, 0.0]


def test_the_graffiti_pair_has_its_known_shares():
    # SIFT and SIFT with FeatureBooster: matches, those within 3 px, and the share that was reported.
    for matches, right, share in ((1419, 620, 0.437), (1669, 789, 0.473)):
        errors = np.where(np.arange(matches) < right, 2.9, 3.1)
        assert round(matching_accuracy(errors, (3,))[0], 3) == share


def test_what_is_not_finite_is_wrong():
    assert matching_accuracy(np.array([np.nan, np.inf, 0.0, 0.0]), (10,)) == [0.5]


def test_shares_are_those_of_d2_net():
    rng = np.random.default_rng(3)
    for count in (0, 1, 300):
        points0 = rng.uniform(0, 500, (count, 2))
        moved = np.concatenate([points0, np.ones((count, 1))], 1) @ TILTED.T
        points1 = moved[:, :2] / moved[:, 2:] + rng.normal(size=(count, 2)) * 3
        ours = matching_accuracy(transfer_errors(points0, points1, TILTED), range(1, 11))
        assert ours == official(points0, points1, TILTED, range(1, 11))


def recalled(points, partners, keypoints, truth, size, px):
    """SuperPoint's ratio of one image, keypoint by keypoint."""
    shared = right = 0
    for keypoint in keypoints:
        x, y, w = truth @ [*keypoint, 1.0]
        if w <= 0 or not (0 <= x / w <= size[1] and 0 <= y / w <= size[0]):
            continue
        shared += 1
        for point, (u, v) in zip(points, partners, strict=True):
            right += (point == keypoint).all() and np.hypot(x / w - u, y / w - v) <= px
    return right / shared if shared else 0.0


def test_the_matching_score_is_the_mean_of_both_images():
    # To the right by 10 px, in images 20 px wide: half of each is shared, and one of three matches is wrong.
    points0 = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    points1 = points0 + [10.0, 0.0]
    points1[2, 1] += 4.0
    keypoints0 = np.concatenate([points0, [[9.0, 9.0], [15.0, 5.0]]])  # the last is not in image 1
    keypoints1 = np.concatenate([points1, [[2.0, 2.0]]])  # likewise
    shift = np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = matching_score((points0, points1), (keypoints0, keypoints1), shift, ((10, 20), (10, 20)), (3, 4))
    assert found == [(2 / 4 + 2 / 3) / 2, (3 / 4 + 3 / 3) / 2]


def test_each_image_counts_in_its_own_pixels():
    # Twice as large: an error of 3 px of image 1 is one of 1.5 px of image 0.
    points0, points1 = np.array([[5.0, 5.0]]), np.array([[13.0, 10.0]])
    found = matching_score(
        (points0, points1), (points0, points1), np.diag([2.0, 2.0, 1.0]), ((10, 10), (20, 20)), (1, 2, 3)
    )
    assert found == [0.0, 0.5, 1.0]


def test_a_match_of_a_keypoint_outside_the_shared_view_does_not_count():
    # Within 3 px of the truth, which is 1 px outside image 1.
    points0, points1 = np.array([[5.0, 5.0]]), np.array([[9.5, 5.0]])
    shift = np.array([[1.0, 0.0, 6.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = matching_score((points0, points1), (points0, points1), shift, ((10, 10), (10, 10)), (3,))
    assert found == [0.5]  # of image 1 the keypoint is shared


def test_what_lies_behind_the_horizon_is_not_shared():
    # By plain division the second keypoint would land in image 1, too, at (15, 5).
    truth = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.1, 0.0, 1.0]])
    keypoints = np.array([[2.0, 2.0], [-30.0, -10.0]])
    there, sizes = keypoints[:1] / 1.2, ((20, 20), (20, 20))
    assert matching_score((keypoints[:1], there), (keypoints, there), truth, sizes, (1,)) == [1.0]
    keypoints[1] = [4.0, 4.0]
    assert matching_score((keypoints[:1], there), (keypoints, there), truth, sizes, (1,)) == [0.75]


def test_without_keypoints_the_matching_score_is_nothing():
    none, some = np.zeros((0, 2)), np.array([[2.0, 3.0]])
    assert matching_score((none, none), (none, none), np.eye(3), ((9, 9), (9, 9)), (1, 3)) == [0.0, 0.0]
    assert matching_score((none, none), (some, none), np.eye(3), ((9, 9), (9, 9)), (3,)) == [0.0]


def test_the_matching_score_is_that_of_its_definition():
    rng = np.random.default_rng(5)
    keypoints0, keypoints1 = rng.uniform(0, 200, (80, 2)), rng.uniform(0, 250, (60, 2))
    moved = np.concatenate([keypoints0[:40], np.ones((40, 1))], 1) @ TILTED.T
    keypoints1[:40] = moved[:, :2] / moved[:, 2:] + rng.normal(size=(40, 2)) * 2
    matched = (keypoints0[:50], keypoints1[:50])
    sizes, back = ((180, 190), (200, 210)), np.linalg.inv(TILTED)
    for px in (1, 3, 5):
        sides = (
            recalled(*matched, keypoints0, TILTED, sizes[1], px),
            recalled(*matched[::-1], keypoints1, back, sizes[0], px),
        )
        found = matching_score(matched, (keypoints0, keypoints1), TILTED, sizes, (px,))
        assert 0 < found[0] < 1 and abs(found[0] - np.mean(sides)) < 1e-12
