"""Light on rendered surfaces: it changes colours, by the law, and nothing else."""

from dataclasses import replace

import pytest
import torch

from retracker.data.datasets.synthetic import Synthetic
from retracker.data.synthetic import ClipSettings, render, textures
from retracker.data.synthetic.clip import draw_clip
from retracker.data.synthetic.lighting import Lamp, light_of, no_lamp
from retracker.data.synthetic.raster import draw, without_film
from retracker.data.synthetic.scene import hits, pixel_centres
from retracker.data.synthetic.surfaces import pose


def small(**changes):
    settings = {"num_frames": 3, "num_points": 12, "height": 96, "width": 128} | changes
    return ClipSettings(difficulty="hard", **settings)


def from_seed(seed):
    """A scene and its surfaces at the first moment."""
    scene = draw_clip(seed, small()).scene
    return scene, pose(scene.surfaces, scene.camera, scene.time[:, :1])


def from_direction(*towards):
    direction = torch.tensor(towards, dtype=torch.float64)
    lamp = replace(
        no_lamp(), ambient=torch.tensor(0.0, dtype=torch.float64), towards=direction / direction.norm()
    )
    return lamp.map(lambda x: x[None])


def numeric_normals(scene, posed):
    """Unit normals of all surfaces from depth alone, by central differences; they look at the camera."""
    x, y = pixel_centres(scene)
    focal, centre = posed.focal[0, 0, 0], scene.camera.centre[0]

    def points(right, down):
        depth = hits(posed, scene.surfaces, x + right, y + down).depth[:, 0, 0]
        view = [(x + right - centre[0]) / focal, (y + down - centre[1]) / focal, torch.ones(())]
        return torch.stack([part * depth for part in view], dim=-1)  # S H W 3

    step = 0.01
    normal = torch.linalg.cross(points(step, 0) - points(-step, 0), points(0, step) - points(0, -step))
    normal = normal / normal.norm(dim=-1, keepdim=True)
    away = (normal * points(0, 0)).sum(-1, keepdim=True) > 0
    return torch.where(away, -normal, normal)


@pytest.mark.parametrize("seed", [3, 4, 8])
def test_a_shade_is_the_cosine_of_lamp_and_normal(seed):
    scene, posed = from_seed(seed)
    x, y = pixel_centres(scene)
    lamp = from_direction(0.3, -0.5, -0.8)
    shade, _ = light_of(lamp, posed, hits(posed, scene.surfaces, x, y).depth, x, y)
    normal = numeric_normals(scene, posed)
    inner = normal.isfinite().all(-1)
    expected = (normal @ lamp.towards[0]).clamp(min=0)[inner]
    assert len(expected) > 5000 and expected.std() > 0.05
    close = (shade[:, 0, 0][inner] - expected).abs() < 1e-4
    assert close.double().mean() > 0.98  # but on rims, where differences reach across


def test_without_a_lamp_not_a_bit_changes():
    scene = draw_clip(5, small()).scene
    plain = draw(scene)
    lamp = Lamp(
        towards=scene.lamp.towards, ambient=scene.lamp.ambient, gloss=torch.full_like(scene.lamp.gloss, 1e-9)
    )  # goes through the lit branch
    assert lamp.lit.all() and not scene.lamp.lit.any()
    assert torch.equal(draw(replace(scene, lamp=lamp)), plain)


def test_light_changes_pictures_and_neither_tracks_nor_what_is_seen():
    dark, lit = render([7], small()), render([7], small(shaded=1.0))
    clip = draw_clip(7, small(shaded=1.0))
    unlit = replace(clip.scene, lamp=no_lamp().map(lambda x: x[None]))
    assert not torch.equal(draw(unlit), lit.video)
    assert lit.tracks.shape == dark.tracks.shape and torch.equal(clip.tracks, lit.tracks)
    assert draw(without_film(clip.scene)).float().mean() < draw(without_film(unlit)).float().mean()


def test_a_lit_clip_does_not_depend_on_the_batch_it_is_rendered_in():
    settings = small(shaded=0.5, grey=0.5)
    together = render(range(4), settings)
    for index in range(4):
        assert torch.equal(render([index], settings).video[0], together.video[index])


def test_a_film_without_colours_has_none():
    video = Synthetic(2, "hard", 3, 8, 64, seed=1, grey=1.0)[0].video
    assert torch.equal(video[:, 0], video[:, 1]) and torch.equal(video[:, 0], video[:, 2])
    assert video.float().std() > 5


def test_the_share_of_photographs_is_the_share_asked_for(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        textures, "_photograph", lambda size, *_: drawn.append(0) or torch.rand(3, size, size)
    )
    for share, expected in ((0.0, False), (1.0, True)):
        draw_clip(3, small(photo_share=share, weak=0.0))
        assert bool(drawn) == expected
    monkeypatch.undo()
    clips = [Synthetic(1, "hard", 3, 8, 64, seed=1, **now)[0].video for now in ({}, {"photo_share": 0.55})]
    assert torch.equal(*clips)


def test_without_photometric_changes_the_film_is_plain():
    plain = draw_clip(3, small(photometric=False)).scene
    film = draw(plain), draw(without_film(plain))
    assert torch.equal(*film)
    assert not torch.equal(draw(draw_clip(3, small()).scene), film[1])


def test_weak_textures_have_little_to_see():
    def detail(weak):
        video = without_noise(weak)
        return video.diff(dim=-1).abs().mean()

    def without_noise(weak):
        scenes = [draw_clip(seed, small(weak=weak)).scene for seed in range(4)]
        return torch.cat([draw(without_film(scene)).float() for scene in scenes])

    assert detail(1.0) < 0.75 * detail(0.0)  # walls stay textured more often
