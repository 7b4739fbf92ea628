import cv2
import numpy as np
import pytest
import torch

from retracker.checkpoint import load
from retracker.inference.clip import track
from retracker.inference.frames import finest_size, views
from retracker.inference.online import OnlineTracker
from retracker.inference.pair import match
from retracker.inference.slots import Slots
from retracker.inference.subpixel import RADIUS, _stages, sharpen
from retracker.inference.two_views import grid_points

SIZE = (160, 200)  # height, width


def picture(seed=0, size=SIZE, blur=2.0):
    noise = np.random.default_rng(seed).uniform(0, 255, (*size, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return cv2.normalize(smooth, None, 20, 220, cv2.NORM_MINMAX).astype(np.uint8)


def warped(image, matrix, size=SIZE):
    """The image under a map of raster coordinates (2 x 3), which OpenCV counts from pixels' centres."""
    matrix = np.asarray(matrix, dtype=float)
    indices = matrix.copy()
    indices[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(image, indices, size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def moved(points, matrix):
    matrix = torch.tensor(matrix)
    return points @ matrix[:, :2].T + matrix[:, 2]


def inner(points, size=SIZE, margin=20):
    limit = torch.tensor([size[1], size[0]]) - margin
    return points[((points > margin) & (points < limit)).all(-1)]


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, 0.0, 3.4], [0.0, 1.0, -1.7]],
        [[1.15, -0.1, 2.3], [0.12, 0.9, 1.1]],
        [[0.85, 0.15, 4.0], [-0.15, 0.85, 21.3]],
    ],
)
def test_a_known_affine_map_is_found_to_a_twentieth_of_a_pixel(matrix):
    image = picture()
    points = inner(grid_points(*SIZE, 10))
    points = points[(moved(points, matrix) > 15).all(-1)]
    assert len(points) > 30
    truth = moved(points, matrix)
    rough = truth + torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    brighter = cv2.convertScaleAbs(warped(image, matrix), alpha=0.8, beta=30)
    laid = sharpen((tensor(image), tensor(brighter)), (points, rough), (SIZE, SIZE))
    error = (laid.xy - truth).norm(dim=-1)
    assert laid.better.float().mean() > 0.9 and error.median() < 0.05 < (rough - truth).norm(dim=-1).median()
    shape = torch.tensor(matrix)[:, :2].expand(len(points), 2, 2)
    assert (laid.affine - shape)[laid.better].abs().median() < 0.02


def test_what_moves_far_or_has_nothing_to_see_stays_where_it_was():
    image = picture()
    points = inner(grid_points(*SIZE, 8))
    far = points + torch.tensor([9.0, 0.0])
    laid = sharpen((tensor(image), tensor(image)), (points, far), (SIZE, SIZE))
    assert torch.equal(laid.xy[~laid.better], far[~laid.better])
    blank = torch.full((3, *SIZE), 127, dtype=torch.uint8)
    for pair in ((tensor(image), blank), (blank, tensor(image)), (blank, blank)):
        laid = sharpen(pair, (points, points), (SIZE, SIZE))
        assert torch.equal(laid.xy, points) and not laid.better.any()
    other = sharpen((tensor(image), tensor(picture(1))), (points, points), (SIZE, SIZE))
    assert other.better.float().mean() < 0.2  # nothing there is alike


def test_a_match_alone_is_moved_as_among_others():
    image, matrix = picture(), [[1.05, 0.0, 2.3], [0.0, 0.95, 1.1]]
    pair = tensor(image), tensor(warped(image, matrix))
    points = grid_points(*SIZE, 12)
    rough = moved(points, matrix) + 0.7
    whole = sharpen(pair, (points, rough), (SIZE, SIZE))
    for index in (0, 37, 130):
        alone = sharpen(pair, (points[index : index + 1], rough[index : index + 1]), (SIZE, SIZE))
        assert torch.equal(alone.xy[0], whole.xy[index])


def test_large_images_of_two_sizes_are_taken_from_coarse_to_fine():
    large = (640, 800)
    image = picture(size=large, blur=4.0)
    matrix = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    half = cv2.resize(image, (large[1] // 2, large[0] // 2), interpolation=cv2.INTER_AREA)
    points = inner(grid_points(*large, 9), large, 60)
    truth = moved(points, matrix)
    working = (160, 200)  # of both, so that a pixel of error there is 4 px of the one, 2 of the other
    generator = torch.Generator().manual_seed(0)
    rough = truth + 2 * torch.randn(truth.shape, generator=generator).clamp(-1.2, 1.2)
    laid = sharpen((tensor(image), tensor(half)), (points, rough), (working, working))
    error = (laid.xy - truth).norm(dim=-1)
    assert error.median() < 0.05 and (error < 0.3).float().mean() > 0.9
    back = sharpen((tensor(half), tensor(image)), (truth, points + 2.5), (working, working))
    assert (back.xy - points).norm(dim=-1).median() < 0.1


def test_sizes_end_with_the_full_ones():
    assert _stages(((256, 256), (256, 256)), ((320, 320), (320, 320))) == [((320, 320), (320, 320))]
    assert _stages(((256, 256), (256, 256)), ((100, 100), (100, 100))) == [((100, 100), (100, 100))]
    stages = _stages(((192, 256), (256, 192)), ((1536, 2048), (512, 384)))
    assert stages[-1] == ((1536, 2048), (512, 384)) and len(stages) == 3
    assert stages[0] == ((384, 512), (323, 242))


def test_nothing_to_move_and_points_on_the_border_are_fine():
    image = tensor(picture())
    none = torch.zeros(0, 2)
    assert sharpen((image, image), (none, none), (SIZE, SIZE)).xy.shape == (0, 2)
    corners = torch.tensor([[0.0, 0.0], [200.0, 160.0], [0.5, 159.5]])
    laid = sharpen((image, image), (corners, corners), (SIZE, SIZE))
    assert laid.xy.isfinite().all() and (laid.xy - corners).norm(dim=-1).max() < RADIUS
    tiny = tensor(picture(size=(32, 40)))
    assert sharpen((tiny, tiny), (corners[:1], corners[:1]), ((32, 40), (32, 40))).xy.isfinite().all()


def test_match_sharpens_unless_told_not_to():
    net = load("tiny")
    image, matrix = picture(blur=1.5), [[1.0, 0.0, 6.3], [0.0, 1.0, -4.6]]
    pair = tensor(image), tensor(warped(image, matrix))
    errors = []
    for subpixel in (False, True):
        found = match(net, *pair, grid=8, subpixel=subpixel)
        errors.append((found.points_b - moved(found.points_a, matrix)).norm(dim=-1).median())
        assert len(found) > 20
        assert ((found.points_b >= 0) & (found.points_b <= torch.tensor([200.0, 160.0]))).all()
    assert errors[1] < 0.05 < errors[0]


def drifting(num_frames=6, step=(1.3, -0.7)):
    """A texture that drifts by a known fraction of a pixel per frame (T 3 H W)."""
    image = picture(blur=1.5)
    moves = [[[1.0, 0.0, t * step[0]], [0.0, 1.0, t * step[1]]] for t in range(num_frames)]
    return torch.stack([tensor(warped(image, matrix)) for matrix in moves])


def test_tracks_are_sharpened():
    net, video = load("tiny"), drifting()
    points = inner(grid_points(*SIZE, 7), margin=30)
    queries = torch.cat([torch.zeros(len(points), 1), points], dim=1)
    truth = points + torch.arange(6)[:, None, None] * torch.tensor([1.3, -0.7])
    rough, sharp = (track(net, video, queries, subpixel=subpixel) for subpixel in (False, True))
    assert torch.equal(rough.tracks[0], sharp.tracks[0])  # their births
    assert torch.equal(rough.confidence[:2], sharp.confidence[:2])  # later ones follow from where they were
    errors = [(found.tracks[1:] - truth[1:]).norm(dim=-1).median() for found in (rough, sharp)]
    assert errors[1] < 0.05 < errors[0]
    hidden = ~sharp.visible[1]
    assert torch.equal(rough.tracks[1][hidden], sharp.tracks[1][hidden])


def test_the_net_goes_on_from_what_was_told():
    net, video = load("tiny"), drifting()
    slots = Slots(net, 8, subpixel=True)
    for key, xy in enumerate(inner(grid_points(*SIZE, 7), margin=30)[:8].tolist()):
        slots.add(key, tuple(xy))
    [group] = slots._groups
    told = []
    with torch.inference_mode():
        for frame in video:
            told.append(slots.step(net.encode(frame[None]), [frame]))
            torch.testing.assert_close(group.state.last.xy[0], told[-1].tracks, atol=1e-4, rtol=0)
    assert told[-1].visible.any()
    moved = told[-1].tracks - told[-2].tracks
    torch.testing.assert_close(group.state.velocity[0], moved, atol=1e-4, rtol=0)


def test_sharpened_tracks_are_the_same_alone_among_others_and_in_a_stream():
    net, video = load("tiny"), drifting()
    points = inner(grid_points(*SIZE, 7), margin=30)
    born = torch.arange(len(points)) % 3
    queries = torch.cat([born[:, None], points], dim=1)
    whole = track(net, video, queries)
    alone = track(net, video, queries[5:6])
    assert torch.equal(whole.tracks[:, 5], alone.tracks[:, 0])
    cut = track(net, video[:4], queries)
    assert torch.equal(whole.tracks[:4], cut.tracks)  # no frame sees the future
    tracker, ids = OnlineTracker(net), {}
    for t, frame in enumerate(video):
        new = (born == t).nonzero()[:, 0].tolist()
        ids |= dict(zip(tracker.add_queries(points[new]).tolist(), new, strict=True))
        found = tracker.step(frame)
        order = [ids[key] for key in found.ids.tolist()]
        assert torch.equal(found.tracks, whole.tracks[t, order])
    held = tracker.state_bytes()
    tracker.step(video[-1])
    assert tracker.state_bytes() == held


def test_a_slot_that_is_taken_again_has_the_patch_of_its_new_point():
    net, video = load("tiny"), drifting()
    tracker = OnlineTracker(net)
    [first] = tracker.add_queries([[60.0, 70.0]])
    tracker.add_queries([[120.0, 90.0]])
    tracker.step(video[0])
    tracker.remove_queries([int(first)])
    tracker.add_queries([[130.0, 60.0]])
    tracker.step(video[1])
    found = tracker.step(video[2])
    fresh = track(net, video[1:3], [[0.0, 130.0, 60.0]])
    assert torch.equal(found.tracks[1], fresh.tracks[1, 0])


def test_large_frames_are_refined_at_full_resolution_and_in_a_stream_the_same():
    net, large = load("tiny"), (560, 640)
    image = picture(size=large, blur=1.2)
    moves = [[[1.0, 0.0, 2.3 * t], [0.0, 1.0, -1.45 * t]] for t in range(4)]
    video = torch.stack([tensor(warped(image, matrix, large)) for matrix in moves])
    points = inner(grid_points(*large, 5), large, margin=60)
    queries = torch.cat([torch.zeros(len(points), 1), points], dim=1)
    truth = points + torch.arange(4)[:, None, None] * torch.tensor([2.3, -1.45])
    small, full = (track(net, video, queries, max_size=size) for size in (256, None))
    errors = [(found.tracks[1:] - truth[1:]).norm(dim=-1).median() for found in (small, full)]
    assert errors[1] < 0.03 < errors[0]
    tracker = OnlineTracker(net)
    tracker.add_queries(points)
    for t, frame in enumerate(video):
        if t == 2:  # in between it goes elsewhere
            kept, tracker = tracker.snapshot(), OnlineTracker(net, max_size=100)
            tracker.restore(kept)
        assert torch.equal(tracker.step(frame).tracks, full.tracks[t])


@pytest.mark.parametrize(
    ("frame", "most", "expected"),
    [
        ((100, 200), None, [(16, 32), (29, 59), (54, 109), (100, 200)]),
        ((100, 200), 100, [(16, 32), (28, 57), (50, 100)]),
        ((100, 200), 40, [(16, 32)]),
        ((10, 20), None, [(16, 32)]),
    ],
)
def test_frames_grow_to_the_finest_size_in_about_doublings(frame, most, expected):
    image = torch.zeros(3, *frame, dtype=torch.uint8)
    sizes = [tuple(view.shape[1:]) for view in views(image, (16, 32), finest_size(frame, most))]
    assert sizes == expected
