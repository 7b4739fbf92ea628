"""Half a pixel costs two points of AJ, so every convention is held against a closed form."""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import retracker
from retracker.geometry.coords import (
    cell_centres,
    cell_index,
    flip_horizontally,
    grid_of,
    patch_offsets,
    rescale,
    sample,
    sample_image,
    sample_patches,
    windows,
)
from retracker.types import FeatureLevel, Grid

HEIGHT, WIDTH = 24, 40
PACKAGE = Path(retracker.__file__).parent


def ramp(height=HEIGHT, width=WIDTH):
    """An image whose two channels are the x and y of each pixel's centre: reading it gives back the point."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y])[None]


def points(num=50, margin=0.5, height=HEIGHT, width=WIDTH):
    """Random points of an image, at least ``margin`` px from its border."""
    uniform = torch.rand(1, num, 2, generator=torch.Generator().manual_seed(0))
    return margin + uniform * (torch.tensor([width, height]) - 2 * margin)


def test_the_centre_of_a_pixel_reads_that_pixel():
    image = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    for row, column in [(0, 0), (4, 6), (2, 3)]:
        found = sample_image(image, torch.tensor([[[column + 0.5, row + 0.5]]]))
        torch.testing.assert_close(found[0, 0], image[0, :, row, column])


def test_a_ramp_reads_back_the_point_itself():
    xy = points()
    torch.testing.assert_close(sample_image(ramp(), xy), xy)


def test_beyond_the_border_the_border_is_repeated():
    outside = torch.tensor([[[-9.0, 3.2], [WIDTH + 9.0, 3.2], [7.7, -1.0], [0.0, 0.0]]])
    expected = torch.tensor([[[0.5, 3.2], [WIDTH - 0.5, 3.2], [7.7, 0.5], [0.5, 0.5]]])
    torch.testing.assert_close(sample_image(ramp(), outside), expected)


def test_a_known_homography_is_followed_exactly():
    # The image seen through H shows at p what the original shows at H p; affine, so that reading is exact.
    linear, shift = torch.tensor([[0.6, -0.2], [0.1, 0.5]]), torch.tensor([9.3, 5.7])
    warped = torch.einsum("ij,bjhw->bihw", linear, ramp()) + shift[None, :, None, None]
    xy = points()
    moved = xy @ linear.T + shift
    torch.testing.assert_close(sample_image(warped, xy), moved)
    torch.testing.assert_close(sample_image(ramp(), moved), moved)


@pytest.mark.parametrize("new_size", [(12, 20), (48, 80), (36, 50)])
def test_resizing_moves_points_by_a_pure_ratio(new_size):
    resized = F.interpolate(ramp(), size=new_size, mode="bilinear", align_corners=False)
    xy = points(margin=4)  # away from the border, where interpolation repeats pixels
    torch.testing.assert_close(sample_image(resized, rescale(xy, (HEIGHT, WIDTH), new_size)), xy)


def test_rescaling_and_back_is_the_identity():
    xy = points()
    there = rescale(xy, (HEIGHT, WIDTH), (512, 384))
    torch.testing.assert_close(rescale(there, (512, 384), (HEIGHT, WIDTH)), xy)


def test_the_corners_of_an_image_stay_its_corners_when_resized():
    corners = torch.tensor([[0.0, 0.0], [WIDTH, HEIGHT]])
    assert rescale(corners, (HEIGHT, WIDTH), (7, 9)).tolist() == [[0, 0], [9, 7]]


def test_cropping_subtracts_the_corner_of_the_crop():
    left, top = 3, 5
    xy = points(margin=6)
    cropped = ramp()[:, :, top:, left:]
    torch.testing.assert_close(sample_image(cropped, xy - torch.tensor([left, top])), xy)


def test_mirroring_maps_x_to_width_minus_x():
    xy = points()
    torch.testing.assert_close(sample_image(ramp().flip(-1), flip_horizontally(xy, WIDTH)), xy)
    torch.testing.assert_close(flip_horizontally(flip_horizontally(xy, WIDTH), WIDTH), xy)


def test_a_strided_convolution_declares_the_offset_it_has():
    # A centred 3x3 mean of a ramp is the ramp; with stride 2 and padding 1 its cells lie on pixels 0, 2, 4.
    mean = torch.full((1, 1, 3, 3), 1 / 9)
    cells = torch.cat([F.conv2d(c, mean, stride=2, padding=1) for c in ramp().split(1, dim=1)], dim=1)
    level = FeatureLevel(map=cells, stride=2.0, offset=0.5)
    xy = points(margin=4)  # away from the zero padding
    torch.testing.assert_close(sample(level, xy), xy)


def test_a_pooled_map_has_its_cells_in_the_middle():
    level = FeatureLevel(map=F.avg_pool2d(ramp(), 4), stride=4.0, offset=2.0)
    xy = points(margin=2)
    torch.testing.assert_close(sample(level, xy), xy)


def test_a_patch_is_read_row_by_row_one_cell_apart():
    level = FeatureLevel(map=F.avg_pool2d(ramp(), 2), stride=2.0, offset=1.0)
    centre = torch.tensor([[[20.3, 11.6]]])
    offsets = patch_offsets(1, centre.device)
    assert offsets[:4].tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 0]]
    torch.testing.assert_close(sample_patches(level, centre, 1), centre[:, :, None] + 2 * offsets)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_window_holds_the_cells_that_a_patch_is_interpolated_from(layout):
    features = torch.rand(2, 5, 7, 9, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=layout
    )
    level = FeatureLevel(map=features, stride=4.0, offset=2.0)
    inside, beyond = points(20, 0.5, 28, 36), torch.tensor([[[-9.0, 3.2], [99.0, -50.0], [35.9, 27.9]]])
    xy = torch.cat([inside, beyond], dim=1).repeat(2, 1, 1) + torch.tensor([0.0, 1.7])[:, None, None]
    cells, (across, down) = windows(level, xy, 2)[0], windows(level, xy, 2)[1].unbind(-1)
    rows = torch.lerp(cells[:, :, :-1], cells[:, :, 1:], down[..., None, None, None])
    patch = torch.lerp(rows[:, :, :, :-1], rows[:, :, :, 1:], across[..., None, None, None])
    torch.testing.assert_close(patch.flatten(2, 3), sample_patches(level, xy, 2), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "grid",
    [Grid(rows=5, columns=7, stride=8.0, offset=4.0), Grid(rows=3, columns=2, stride=16.0, offset=0.5)],
)
def test_the_centre_of_a_cell_lies_in_that_cell(grid):
    centres = cell_centres(grid, torch.device("cpu"))
    index, inside = cell_index(grid, centres)
    assert index.tolist() == list(range(grid.rows * grid.columns)) and inside.all()
    assert centres[1].tolist() == [grid.stride + grid.offset, grid.offset]


def test_a_point_belongs_to_the_nearest_cell():
    grid = Grid(rows=4, columns=6, stride=8.0, offset=4.0)
    xy = points(num=200, margin=0.1, height=32, width=48)[0]
    index, inside = cell_index(grid, xy)
    distance = torch.cdist(xy, cell_centres(grid, xy.device))
    assert torch.equal(index, distance.argmin(-1)) and inside.all()


def test_a_point_outside_the_grid_is_said_to_be_outside():
    grid = Grid(rows=4, columns=6, stride=8.0, offset=4.0)
    index, inside = cell_index(
        grid, torch.tensor([[-0.1, 4.0], [48.1, 4.0], [4.0, -0.1], [4.0, 32.1], [4.0, 4.0]])
    )
    assert inside.tolist() == [False, False, False, False, True]
    assert index.tolist() == [0, 5, 0, 18, 0]  # still a cell, so that it can be gathered


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(32, 48, 4, 6), (29, 45, 4, 6), (28, 44, 3, 5), (1, 1, 1, 1)],  # a centre on the border is outside
)
def test_cells_of_padding_are_not_in_the_grid(height, width, rows, columns):
    level = FeatureLevel(map=torch.zeros(1, 1, 8, 8), stride=8.0, offset=4.0)
    grid = grid_of(level, height, width)
    assert (grid.rows, grid.columns) == (rows, columns)


def test_a_grid_is_never_larger_than_its_map():
    level = FeatureLevel(map=torch.zeros(1, 1, 3, 4), stride=8.0, offset=0.5)
    grid = grid_of(level, 1000, 1000)
    assert (grid.rows, grid.columns) == (3, 4)


def _calls_grid_sample(path):
    tree = ast.walk(ast.parse(path.read_text()))
    return any(
        "grid_sample" in (getattr(node, "attr", ""), getattr(node, "id", ""), getattr(node, "name", ""))
        for node in tree
    )


def test_grid_sample_is_called_in_one_place():
    # The renderer reads its own textures, in texture coordinates, which are no pixels of any frame.
    callers = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if _calls_grid_sample(path)
    }
    assert "geometry/coords.py" in callers
    assert [c for c in callers if c != "geometry/coords.py" and not c.startswith("data/synthetic/")] == []


def test_at_a_point_that_is_nowhere_nothing_is_read_and_all_others_are_read_as_ever():
    level = FeatureLevel(map=ramp().requires_grad_(), stride=1.0, offset=0.5)
    xy = points(20)
    lost = xy.clone()
    lost[:, 3, 1] = torch.nan
    lost.requires_grad_()
    found = sample(level, lost)
    keep = [i for i in range(20) if i != 3]
    assert torch.equal(found[:, keep], sample(level, xy)[:, keep]) and found[:, 3].isnan().all()
    found[:, keep].sum().backward()  # torch's own would end the process
    assert lost.grad[:, 3].eq(0).all() and level.map.grad.isfinite().all()
