"""Embedded posed pairs: pictures, depth and cameras of one and the same room."""

from math import radians

import pytest
import torch
from hydra.utils import instantiate

from retracker.configuration import compose_config
from retracker.data.datasets.synthetic_posed import SyntheticPosed
from retracker.data.supervision import transfer
from retracker.data.synthetic import posed, textures
from retracker.data.synthetic.motion import rotation
from retracker.data.synthetic.scene import Material, follow, front
from retracker.data.synthetic.seeds import training_seed
from retracker.data.synthetic.surfaces import pose
from retracker.data.synthetic.textures import HELD_OUT, PHOTOGRAPHS, TEXTURES

SIZE = 64


def pairs(difficulty="medium", size=SIZE):
    return SyntheticPosed(length=20, difficulty=difficulty, size=size, seed=3)


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_depth_and_cameras_lead_where_the_surfaces_are(difficulty):
    data = pairs(difficulty, 256)
    pair = data[0]
    scene = posed.posed_scene(training_seed(3, 0), difficulty, 256)
    # Pixel centres: there the depth is that of the very ray, and not interpolated.
    steps = torch.arange(8, 256, 16, dtype=torch.float64) + 0.5
    xy = torch.cartesian_prod(steps, steps).flip(-1)
    posed_now = pose(scene.surfaces, scene.camera, scene.time[:, :1])
    _, index, u, v = (
        x[:, 0].flatten(1)
        for x in front(posed_now, scene.surfaces, xy[:, 0].view(1, 1, -1, 1), xy[:, 1].view(1, 1, -1, 1))
    )
    true, seen, _ = follow(scene, Material(surface=index, u=u, v=v), scene.time[:, 1:])
    found = transfer(pair, xy.float(), 0.02)
    both = found.seen & seen[0, 0]
    assert both.sum() > 40
    apart = (found.xy - true[0, 0]).norm(dim=-1)[both]
    assert apart.quantile(0.95) < 0.02  # px
    assert (found.seen & ~seen[0, 0]).sum() <= 0.03 * both.sum()


def test_views_of_a_harder_pair_lie_farther_apart():
    def turns(difficulty):
        data = pairs(difficulty)
        cosines = [(data[i].pose_0to1[:3, :3].trace() - 1) / 2 for i in range(6)]
        return torch.stack(cosines).clamp(-1, 1).acos().median()

    easy, medium, hard = (turns(name) for name in ("easy", "medium", "hard"))
    assert radians(3) < easy < medium < hard < radians(75)


def test_a_pair_is_a_pure_function_of_seed_and_index():
    first, again, other = pairs()[4], pairs()[4], pairs()[5]
    assert torch.equal(first.image0, again.image0) and torch.equal(first.depth1, again.depth1)
    assert not torch.equal(first.image0, other.image0)


def test_views_have_sensors_of_their_own():
    scene = posed.posed_scene(5, "hard", SIZE)
    one, two = (posed._of_side(scene, side).film for side in (0, 1))
    assert one.noise_seed != two.noise_seed
    assert not torch.equal(one.gain, two.gain)


def test_enough_is_seen_twice():
    for index in range(8):
        seed = posed.validation_seed("hard", index)
        scene = posed.posed_scene(seed, "hard", SIZE)
        assert min(posed._overlap(scene, 0), posed._overlap(scene, 1)) >= posed.GROUPS["hard"].overlap


@pytest.mark.parametrize("roll", [-0.7, 0.0, 0.4])
def test_a_camera_looks_where_it_is_told(roll):
    ahead = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    turn = rotation(posed._looking(ahead, roll))
    torch.testing.assert_close(turn[:, 2], ahead / ahead.norm())
    upright = rotation(posed._looking(ahead, 0.0))
    assert abs(upright[1, 0]) < 1e-12  # its x axis is level
    rolled = upright @ rotation(torch.tensor([0, 0, roll], dtype=torch.float64))
    torch.testing.assert_close(turn, rolled)


def test_photographs_that_are_held_out_are_on_no_wall():
    assert set(HELD_OUT) < set(PHOTOGRAPHS)
    assert not set(HELD_OUT) & set(TEXTURES)


@pytest.mark.parametrize("experiment", ["matching", "joint", "joint data=joint_mix model=base"])
def test_no_training_of_matching_renders_photographs_that_are_held_out(experiment, monkeypatch):
    cfg = compose_config("train", f"+experiment={experiment}".split())
    rendered = [part for part in cfg.data.train.values() if part._target_.endswith(".Synthetic")]
    shown = set()
    monkeypatch.setattr(textures, "_photograph", lambda _size, photographs, _dice: shown.update(photographs))
    for part in rendered:
        with pytest.raises(AttributeError):  # the first picture is None
            instantiate(part, length=1, num_frames=2, size=32, photo_share=1.0)[0]
    assert rendered and shown and not shown & set(HELD_OUT)


def test_every_pair_shows_another_scene_so_any_two_have_no_match():
    data = pairs()
    assert data.scene(0) != data.scene(1)
    negative = data.negative(0, 1)
    assert torch.equal(negative.image0, data[0].image0) and torch.equal(negative.image1, data[1].image1)


@pytest.mark.parametrize(("length", "difficulty"), [(0, "easy"), (3, "impossible")])
def test_settings_that_make_no_sense_are_refused(length, difficulty):
    with pytest.raises(ValueError, match="posed pairs"):
        SyntheticPosed(length=length, difficulty=difficulty, size=SIZE, seed=0)
