import torch

from retracker.metrics.pck import end_point_error, pck


def clip():
    truth = torch.zeros(2, 1, 4, 2)
    tracks = truth.clone()
    tracks[0, 0, :, 0] = torch.tensor([0.5, 1.0, 3.0, 100.0])
    counted = torch.tensor([[[True, True, True, False]], [[False] * 4]])
    return tracks, truth, counted


def test_pck_counts_strictly_closer_points_of_each_clip():
    share = pck(*clip(), pixels=1.0)
    torch.testing.assert_close(share[0], torch.tensor(1 / 3))
    torch.testing.assert_close(pck(*clip(), pixels=5.0)[0], torch.tensor(1.0))


def test_the_end_point_error_ignores_points_that_do_not_count():
    torch.testing.assert_close(end_point_error(*clip())[0], torch.tensor(1.5))


def test_a_clip_in_which_nothing_counts_is_nan():
    assert end_point_error(*clip())[1].isnan() and pck(*clip(), pixels=1.0)[1].isnan()
