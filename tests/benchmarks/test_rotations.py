import pytest
import torch

from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.rotations import rotated, turned

HEIGHT, WIDTH = 12, 20


def video(num_frames=3):
    return torch.randint(0, 256, (num_frames, 3, HEIGHT, WIDTH), generator=seeded(), dtype=torch.uint8)


def seeded():
    return torch.Generator().manual_seed(0)


def marked(xy, size):
    """An image (1, H, W) that is white in the pixels that points lie in."""
    image = torch.zeros(1, *size)
    image[0, xy[:, 1].long(), xy[:, 0].long()] = 1
    return image


def knows(upright, tracks, sure):
    """A tracker that knows where points are, whichever way the video is turned; ``sure`` is by turn (T N)."""

    def track(seen, queries):
        turn = next(k for k in range(4) if torch.equal(torch.rot90(upright, k, (-2, -1)), seen))
        there = turned(tracks, (HEIGHT, WIDTH), turn)
        torch.testing.assert_close(queries[:, 1:], there[0], rtol=0, atol=1e-6)
        confidence = sure[turn].float()
        return Tracked(tracks=there, visible=confidence > 0.5, confidence=confidence)

    return track


def ask(tracks):
    return torch.cat([torch.zeros(tracks.shape[1], 1), tracks[0]], -1)


def random_tracks():
    return torch.rand(3, 5, 2, generator=seeded(), dtype=torch.float64) * torch.tensor([WIDTH, HEIGHT])


@pytest.mark.parametrize("turn", range(-1, 5))
def test_a_point_stays_on_the_pixel_that_it_marks(turn):
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    everywhere = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
    xy = everywhere[torch.randperm(len(everywhere), generator=seeded())[:9]]
    image = torch.rot90(marked(xy, (HEIGHT, WIDTH)), turn, (-2, -1))
    assert torch.equal(marked(turned(xy, (HEIGHT, WIDTH), turn), image.shape[1:]), image)


@pytest.mark.parametrize("turn", range(4))
def test_turning_back_gives_the_point_itself(turn):
    xy = torch.rand(50, 2, generator=seeded()) * torch.tensor([WIDTH, HEIGHT])
    size = (HEIGHT, WIDTH) if turn % 2 == 0 else (WIDTH, HEIGHT)
    there = turned(xy, (HEIGHT, WIDTH), turn)
    torch.testing.assert_close(turned(there, size, -turn), xy, rtol=0, atol=1e-5)


@pytest.mark.parametrize("turns", [[0], [1], [3, 2], [0, 1, 2, 3]])
def test_who_knows_the_truth_in_turned_coordinates_is_right_in_upright_ones(turns):
    upright, tracks = video(), random_tracks()
    sure = torch.rand(4, 3, 5, generator=seeded())
    answer = rotated(knows(upright, tracks, sure), turns)(upright, ask(tracks))
    torch.testing.assert_close(answer.tracks, tracks, rtol=0, atol=1e-6)
    torch.testing.assert_close(answer.confidence, sure[turns].amax(0))
    assert torch.equal(answer.visible, sure[turns].amax(0) > 0.5)


def test_no_turn_is_the_tracker_itself():
    upright, tracks = video(), random_tracks()
    sure = torch.rand(4, 3, 5, generator=seeded())
    tracker = knows(upright, tracks, sure)
    alone, wrapped = (method(upright, ask(tracks)) for method in (tracker, rotated(tracker, [0])))
    assert torch.equal(alone.tracks, wrapped.tracks) and torch.equal(alone.visible, wrapped.visible)
    assert torch.equal(alone.confidence, wrapped.confidence)


def test_each_point_takes_the_surest_answer_of_each_frame_and_the_first_of_equals():
    upright = video(num_frames=2)
    sure = torch.tensor([[[0.3, 0.9], [0.5, 0.1]], [[0.4, 0.2], [0.5, 0.6]]])  # turn, T, N

    def tracker(seen, queries):
        turn = 0 if seen.shape[-1] == WIDTH else 1
        xy = torch.full((2, len(queries), 2), float(1 + turn))
        return Tracked(tracks=xy, visible=sure[turn] > 0.35, confidence=sure[turn])

    answer = rotated(tracker, [0, 1])(upright, torch.tensor([[0.0, 3, 3], [0, 4, 4]]))
    unturned = turned(torch.tensor([2.0, 2.0]), (WIDTH, HEIGHT), -1)
    straight = torch.tensor([1.0, 1.0])
    assert torch.equal(answer.tracks[0, 0], unturned) and torch.equal(answer.tracks[1, 1], unturned)
    assert torch.equal(answer.tracks[0, 1], straight) and torch.equal(answer.tracks[1, 0], straight)
    assert answer.visible.tolist() == [[True, True], [True, True]]
    assert torch.equal(answer.confidence, torch.tensor([[0.4, 0.9], [0.5, 0.6]]))


@pytest.mark.parametrize("turns", [[], [0, 4], [1, 1]])
def test_turns_that_make_no_sense_are_told(turns):
    with pytest.raises(ValueError, match="rotations: expected different numbers of quarter turns, got"):
        rotated(lambda *_: None, turns)
