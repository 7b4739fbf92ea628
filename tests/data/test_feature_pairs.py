"""Pairs of images by their keypoints: where each goes, what is padded, and that seed and n decide all."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pair_layouts.megadepth_d2net
import pytest
import torch
from pair_layouts import still
from PIL import Image
from walls import Walls

from retracker.data.datasets.synthetic_posed import SyntheticPosed
from retracker.data.faults import CorruptSample, DataFault, TooManyCorruptSamples
from retracker.data.feature_files import FeatureFiles
from retracker.data.feature_module import FeatureDataModule
from retracker.data.feature_pairs import (
    FeatureSource,
    FixedPairs,
    OnTheFly,
    Picture,
    TwoViews,
    Views,
    collate,
    feature_pair,
)
from retracker.data.feature_views import PosedViews, WarpedViews, crop_around, swapped
from retracker.data.local_features import Orb, Sift
from retracker.data.picture_warps import Warping
from retracker.data.pictures import Photographs, PictureFolder, Pictures
from retracker.data.recordings import Unusable
from retracker.data.supervision import transfer
from retracker.data.synthetic.posed import HELD_OUT
from retracker.media.image import write_image

WARPING = Warping(zoom=1.5, turn=30, scale=0.3, stretch=0.2, shift=0.1, tilt=0.15, bend=0.02)


def unchanged(sample, rng):  # noqa: ARG001
    return sample


def rng(*seeds):
    return np.random.default_rng(seeds)


class Noise(Pictures):
    """Two pictures of smoothed noise: the same places can be told by their colours."""

    def __len__(self):
        return 2

    def name(self, index):
        return f"noise {index}"

    def read(self, index):
        steps = rng(index).integers(0, 256, (24, 32, 3)).astype(np.float32)
        field = torch.from_numpy(steps).permute(2, 0, 1)[None]
        smooth = torch.nn.functional.interpolate(field, size=(192, 256), mode="bicubic").clamp(0, 255)
        return smooth[0].permute(1, 2, 0).to(torch.uint8).numpy()


class OnePicture(Noise):
    """There is no other one to be seen beyond it."""

    def __len__(self):
        return 1


@pytest.fixture
def warped():
    return WarpedViews(Noise(), 128, WARPING, unchanged)


def grid(side, step):
    steps = torch.arange(step / 2, side, step)
    return torch.cartesian_prod(steps, steps)


def colours(image, xy):
    """What an image shows at places (N 2, px)."""
    place = xy / image.shape[-1] * 2 - 1
    return torch.nn.functional.grid_sample(
        image[None].float(), place[None, None].float(), align_corners=False
    )[0, :, 0].T


def test_what_a_warped_view_shows_is_where_it_is_said_to_be(warped):
    views = warped.draw(rng(0))
    xy = grid(128, 8)
    there, known = views.forth(xy)
    assert known.sum() > 50
    error = (colours(views.picture0.pixels, xy) - colours(views.picture1.pixels, there)).abs().mean(-1)
    assert error[known].median() < 4  # grey levels; of other places 60
    assert (colours(views.picture0.pixels, xy) - colours(views.picture1.pixels, xy)).abs().mean() > 20


def test_there_and_back_again(warped):
    views = warped.draw(rng(1))
    xy = grid(128, 8)
    there, known = views.forth(xy)
    again, seen = views.back(there[known].float())
    assert seen.all() and (again - xy[known]).abs().max() < 1e-3
    assert ((there[known] >= 0) & (there[known] < 128)).all()


def test_beyond_a_picture_another_one_is_seen_and_has_no_match():
    wide = replace(WARPING, zoom=1, shift=0.5, turn=180)
    black, unknown = [], []
    for pictures in (OnePicture(), Noise()):
        views = [WarpedViews(pictures, 128, wide, unchanged).draw(rng(0, n)) for n in range(8)]
        black.append(np.mean([float((v.picture0.pixels.amax(0) == 0).float().mean()) for v in views]))
        unknown.append(np.mean([float((~v.forth(grid(128, 8))[1]).float().mean()) for v in views]))
    assert black[1] < 0.7 * black[0]  # half of the time it is the same picture that is drawn
    assert min(unknown) > 0.3


def test_photographs_held_out_are_not_trained_on():
    held_out, others = Photographs(held_out=True), Photographs(held_out=False)
    names = [{pictures.name(i) for i in range(len(pictures))} for pictures in (held_out, others)]
    assert not names[0] & names[1] and names[0] == {f"scikit-image/{name}" for name in HELD_OUT}
    assert held_out.read(0).dtype == np.uint8 and held_out.read(0).shape[2] == 3


def test_pictures_of_a_folder_are_found_below_it(tmp_path):
    (tmp_path / "deep").mkdir()
    picture = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    write_image(tmp_path / "deep" / "a.png", picture)
    (tmp_path / "notes.txt").write_text("no picture")
    folder = PictureFolder(str(tmp_path))
    assert len(folder) == 1 and folder.name(0) == "deep/a.png"
    assert (folder.read(0) == picture.permute(1, 2, 0).numpy()).all()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no image"):
        PictureFolder(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("point", "size", "corner"),
    [
        ((50.0, 40.0), (100, 100), (34, 24)),
        ((2.0, 99.0), (100, 100), (0, 68)),
        ((50.0, 10.0), (20, 100), (34, 0)),  # lower than a crop: its whole height
        ((5.0, 5.0), (10, 10), (0, 0)),
    ],
)
def test_a_crop_lies_in_its_image(point, size, corner):
    assert crop_around(torch.tensor(point), torch.tensor(size), 32) == corner


@pytest.fixture(scope="module")
def posed():
    return SyntheticPosed(length=3, difficulty="easy", size=96, seed=3)


def test_crops_of_posed_pairs_agree_with_the_whole_views(posed):
    views = PosedViews(posed, crop=64, tolerance=0.05, scene_balance=0.0).draw(rng(4))
    pair = next(pair for pair in map(posed.__getitem__, range(3)) if pair.name == views.name)
    corner0, corner1 = (views.forth.keywords[side] for side in ("corner", "other"))
    x, y = corner0
    assert (views.picture0.pixels == pair.image0[:, y : y + 64, x : x + 64]).all()
    xy = grid(64, 5)
    there, known = views.forth(xy)
    found = transfer(pair, xy + torch.tensor(corner0), 0.05)
    inside = ((there >= 0) & (there < 64)).all(-1)
    assert known.sum() > 20 and (known == found.seen & inside).all()
    assert (found.seen & ~inside).any()  # what only the rest of the view shows has no match in its crop
    torch.testing.assert_close(there[known], (found.xy - torch.tensor(corner1))[known])
    again, seen = views.back(there[known].clamp(0, 63.9).float())
    inside = ((there[known] >= 0) & (there[known] < 64)).all(-1) & seen
    assert inside.sum() > 10 and (again - xy[known])[inside].norm(dim=-1).median() < 0.05


def test_the_crops_show_a_common_point(posed):
    views = PosedViews(posed, crop=48, tolerance=0.05, scene_balance=0.0)
    for n in range(2):
        drawn = views.draw(rng(5, n))
        there, known = drawn.forth(grid(48, 2))
        assert (known & (there >= -1).all(-1) & (there < 49).all(-1)).any()


def test_an_image_smaller_than_the_crop_is_taken_whole(posed):
    views = PosedViews(posed, crop=512, tolerance=0.05, scene_balance=0.0).draw(rng(0))
    assert views.picture0.pixels.shape == views.picture1.pixels.shape == (3, 96, 96)


def test_a_swapped_pair_goes_back(posed):
    pair = posed[0]
    assert torch.allclose(swapped(pair).pose_0to1 @ pair.pose_0to1, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(swapped(swapped(pair)).pose_0to1, pair.pose_0to1)


def test_a_pair_without_a_common_point_is_drawn_again():
    class Apart(Walls):
        def __getitem__(self, index):
            return self.pair(index, index, 20.0)

    with pytest.raises(Unusable, match="no point"):
        PosedViews(Apart("a"), crop=8, tolerance=0.05, scene_balance=0.0).draw(rng(0))


@pytest.fixture
def megadepth(tmp_path):
    layout = pair_layouts.megadepth_d2net.LAYOUT
    layout.write(tmp_path, [still(seed) for seed in (11, 12)])
    return layout.open(tmp_path, 64)


def test_features_of_files_lie_where_the_pixels_of_a_crop_are(megadepth, tmp_path):
    """A keypoint at every fourth pixel of the stored image, its descriptor the colour that is there."""
    for image in tmp_path.rglob("images/*.jpg"):
        pixels = torch.from_numpy(megadepth.storage.load(str(image.relative_to(tmp_path)), read_rgb).copy())
        rows, columns = (torch.arange(1, side, 4) for side in pixels.shape[:2])
        index = torch.cartesian_prod(rows, columns)
        np.savez(
            image.with_suffix(".dots.npz"),
            keypoints=index.flip(-1).numpy().astype(np.float32),
            scores=np.linspace(1, 0, len(index), dtype=np.float32),
            descriptors=pixels[index[:, 0], index[:, 1]].numpy().astype(np.float32) + 1,
        )
    views = PosedViews(megadepth, crop=32, tolerance=0.05, scene_balance=0.0).draw(rng(1))
    features = FeatureFiles(".dots.npz", 1000, 0).find(views.picture0)
    assert features.size.tolist() == [32, 32] and 20 < len(features.xy) < 1000
    assert ((features.xy >= 0) & (features.xy < 32)).all()
    shown = torch.nn.functional.normalize(colours(views.picture0.pixels, features.xy) + 1, dim=-1)
    assert (shown * features.descriptors).sum(-1).median() > 0.99
    assert FeatureFiles(".dots.npz", 7, 0).find(views.picture0).xy.shape == (7, 2)


def read_rgb(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_missing_and_broken_files_of_features_are_corrupt_samples(megadepth, tmp_path):
    """The stream counts and skips those; it would end at any other error."""
    views = PosedViews(megadepth, crop=32, tolerance=0.05, scene_balance=0.0)
    source = FeatureSource(views, FeatureFiles(".superpoint.npz", 10, 0), 1)
    with pytest.raises(CorruptSample, match=r"^\[\d\]: .*\.superpoint\.npz"):
        source.draw(rng(1))
    for image in tmp_path.rglob("images/*.jpg"):
        image.with_suffix(".superpoint.npz").write_bytes(b"cut off")
    with pytest.raises(CorruptSample, match=r"superpoint\.npz: expected an \.npz file"):
        source.draw(rng(1))


def test_made_pictures_have_no_files_of_features(warped):
    with pytest.raises(DataFault, match="these pictures are made"):
        FeatureFiles(".superpoint.npz", 10, 0).find(warped.draw(rng(0)).picture0)


@pytest.fixture
def source(warped):
    return FeatureSource(warped, OnTheFly(Sift(40)), 4)


def test_a_pair_of_features_says_where_its_keypoints_go():
    warped = WarpedViews(Noise(), 128, replace(WARPING, shift=0.4), unchanged)
    pair = FeatureSource(warped, OnTheFly(Sift(40)), 4).draw(rng(2))
    there, known = warped.draw(rng(2)).forth(pair.features0.xy)
    assert (pair.known0 == known).all() and known.any() and not known.all()
    torch.testing.assert_close(pair.moved0[known], there[known].float())
    assert (pair.moved0[~known] == 0).all()
    # Much of what one image has and the other shows is found there, too.
    apart = torch.cdist(pair.moved0[known], pair.features1.xy).amin(-1)
    assert (apart < 3).float().mean() > 0.3


def test_too_few_matches_are_drawn_again(warped):
    with pytest.raises(Unusable, match="fewer than 1000"):
        FeatureSource(warped, OnTheFly(Sift(40)), 1000).draw(rng(0))


def test_a_batch_is_padded_with_keypoints_that_are_not_there(warped):
    pairs = [FeatureSource(warped, OnTheFly(Sift(n)), 4).draw(rng(3)) for n in (10, 20)]
    batch = collate(pairs)
    assert batch.moved0.shape == (2, 20, 2) and batch.features1.descriptors.shape == (2, 20, 128)
    assert batch.features0.present.sum(-1).tolist() == [10, 20]
    assert not batch.known0[0, 10:].any() and not batch.known1[0, 10:].any()
    assert (batch.features0.xy[0, :10] == pairs[0].features0.xy).all()
    assert batch.name == (pairs[0].name, pairs[1].name)


def test_an_image_without_keypoints_can_be_in_a_batch(source):
    flat = Picture(pixels=torch.full((3, 64, 64), 100, dtype=torch.uint8))

    def nowhere(xy):
        return torch.zeros_like(xy), torch.zeros(len(xy), dtype=torch.bool)

    views = TwoViews(picture0=flat, picture1=flat, forth=nowhere, back=nowhere, name="flat")
    empty = feature_pair(views, *(Sift(10)(view.pixels) for view in (flat, flat)))
    batch = collate([empty, source.draw(rng(0))])
    assert not batch.features0.present[0].any() and batch.features0.present[1].any()


def data_module(views, extractor=None, num_workers=0):
    data = FeatureDataModule(
        train={"noise": views},
        weights={},
        val=views,
        val_pairs=3,
        val_seed=9,
        extractor=extractor or OnTheFly(Orb(30)),
        min_known=1,
        batch_size=2,
        num_workers=num_workers,
        seed=7,
    )
    data.trainer = SimpleNamespace(world_size=2, global_rank=1, global_step=3, accumulate_grad_batches=1)
    return data


def test_the_stream_is_a_function_of_seed_and_position(warped):
    first, again = data_module(warped).stream, data_module(warped).stream
    places = {n: again[n].features0.xy for n in (5, 2, 9)}
    assert all(torch.equal(first[n].features0.xy, places[n]) for n in (9, 2, 5))
    assert not torch.equal(places[2], places[9])


def test_a_rank_reads_on_from_where_the_run_stands(warped):
    data = data_module(warped)
    batch = next(iter(data.train_dataloader()))
    # Three steps of two ranks with two pairs each lie behind; this is the second rank.
    expected = collate([data.stream[13], data.stream[15]])
    assert (batch.features0.xy == expected.features0.xy).all() and (batch.moved1 == expected.moved1).all()


def test_workers_change_nothing(warped):
    own, theirs = (next(iter(data_module(warped, num_workers=n).train_dataloader())) for n in (0, 1))
    assert (own.features1.descriptors == theirs.features1.descriptors).all()


def test_validation_pairs_are_fixed_and_those_that_fill_up_count_for_nothing(warped):
    batches = list(data_module(warped).val_dataloader())  # the second of two ranks: pairs 1 and 0 again
    fixed = FixedPairs(FeatureSource(warped, OnTheFly(Orb(30)), 1), 3, 9)
    assert len(batches) == 2 and (batches[0].moved0[0] == fixed[1].moved0).all()
    assert batches[0].known0.any() and not batches[1].known0.any()
    assert (batches[1].features0.xy[0] == fixed[0].features0.xy).all()


class Broken(Pictures):
    """Pictures of which each third cannot be read."""

    def __len__(self):
        return 3

    def name(self, index):
        return f"broken {index}"

    def read(self, index):
        if index == 0:
            raise ValueError("some/file.jpg: cannot be read as an image")
        return Noise().read(index - 1)


def test_broken_pictures_are_named_counted_and_replaced_and_many_stop():
    data = data_module(WarpedViews(Broken(), 96, WARPING, unchanged))
    drawn = 0
    with (
        pytest.warns(UserWarning, match="some/file.jpg"),
        pytest.raises(TooManyCorruptSamples, match="file.jpg"),
    ):
        for n in range(400):
            drawn += bool(data.stream[n].known0.any())
    assert drawn > 3 and "some/file.jpg" in data.stream.faults.report()


def test_a_broken_validation_picture_stops():
    data = data_module(WarpedViews(Broken(), 96, WARPING, unchanged))
    data.val.pairs.length = 30
    with pytest.raises(DataFault, match="data.val: pair .*some/file.jpg"):
        for n in range(30):
            data.val[n]


def test_views_that_cannot_be_used_are_told():
    class Nowhere(Views):
        def draw(self, rng):  # noqa: ARG002
            raise Unusable("nowhere: nothing to see")

    with pytest.raises(DataFault, match="noise: nothing to learn from in 100 draws"):
        data_module(Nowhere()).stream[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: WarpedViews(Noise(), 0, WARPING, unchanged),
        lambda: PosedViews(Walls("a"), crop=0, tolerance=0.05, scene_balance=0),
        lambda: FeatureFiles("superpoint.h5", 10, 0),
        lambda: FeatureSource(WarpedViews(Noise(), 8, WARPING, unchanged), OnTheFly(Orb(3)), 0),
        lambda: FixedPairs(
            FeatureSource(WarpedViews(Noise(), 8, WARPING, unchanged), OnTheFly(Orb(3)), 1), 0, 0
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="expected|at least 1"):
        make()
