"""Drawing scenes: rays, the two nearest surfaces of each pixel, their textures, and the film."""

from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.data.synthetic.lighting import light_of
from retracker.data.synthetic.scene import Scene, hits, pixel_centres
from retracker.data.synthetic.surfaces import Surfaces, pose
from retracker.geometry.coords import sample_image

SUBFRAMES = 4  # pictures averaged into one with motion blur
WHITE = 255.0
RAYS_AT_ONCE = 1 << 18  # bounds memory; a block of about this many rays is worked on at a time


def draw(scene: Scene) -> UInt8[Tensor, "B T 3 H W"]:
    """Render every frame of every scene."""
    blurred = scene.film.shutter > 0
    video = scene.atlas.new_empty((*scene.time.shape, 3, scene.height, scene.width))
    for which, subframes in ((blurred, SUBFRAMES), (~blurred, 1)):
        index = which.nonzero()[:, 0]
        if len(index):
            video[index] = _develop(scene.map(lambda value, index=index: value[index]), subframes)
    return video


def _develop(scene: Scene, subframes: int) -> UInt8[Tensor, "B T 3 H W"]:
    instants = (torch.arange(subframes, dtype=torch.float64) + 0.5) / subframes - 0.5
    offsets = scene.film.shutter[:, None] * instants.to(scene.time.device)  # B subframes
    light = scene.map(lambda value: value.float() if value.is_floating_point() else value)
    atlas = scene.atlas.float()
    frames = max(1, RAYS_AT_ONCE // (subframes * scene.height * scene.width))
    noise = _noise(scene)
    pictures = []
    for first in range(0, scene.time.shape[1], frames):
        time = scene.time[:, first : first + frames, None] + offsets[:, None]
        colour = _expose(scene, light, atlas, time.flatten(1)).unflatten(1, time.shape[1:]).mean(2)
        colour = colour * light.film.gain[:, first : first + frames, :, None, None]
        colour = colour + noise[:, first : first + frames].to(colour.device)
        if scene.film.grey.any():
            grey = scene.film.grey[:, None, None, None, None]
            colour = torch.where(grey, colour.mean(2, keepdim=True), colour)
        pictures.append(colour.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(pictures, dim=1)


def _noise(scene: Scene) -> Float[Tensor, "B T 3 H W"]:
    """Sensor noise in grey levels, always drawn on the CPU."""
    shape = (scene.time.shape[1], 3, scene.height, scene.width)
    rows = []
    for seed, level in zip(scene.film.noise_seed.tolist(), scene.film.noise.tolist(), strict=True):
        rng = torch.Generator().manual_seed(seed)
        rows.append(torch.randn(shape, generator=rng) * level if level > 0 else torch.zeros(1).expand(shape))
    return torch.stack(rows)


def _expose(
    scene: Scene, light: Scene, atlas: Tensor, time: Float[Tensor, "B F"]
) -> Float[Tensor, "B F 3 H W"]:
    """Colours (0..255) at F instants; motion is worked out in double precision, rays in single."""
    posed = pose(scene.surfaces, scene.camera, time).map(Tensor.float)
    x, y = pixel_centres(light)
    found = hits(posed, light.surfaces, x, y)  # S B F H W
    nearest, first = found.depth.min(0)
    beyond, second = found.depth.scatter(0, first[None], torch.inf).min(0)
    colours = [_texture(found, light.surfaces, atlas, index) for index in (first, second)]
    if scene.lamp.lit.any():
        shade, highlight = light_of(light.lamp, posed, found.depth, x, y)
        colours = [
            colour * _of(shade, index) + WHITE * _of(highlight, index)
            for colour, index in zip(colours, (first, second), strict=True)
        ]
    cover = (found.margin.gather(0, first[None])[0] + 0.5).clamp(0, 1)[:, :, None]
    near, far = cover * nearest.isfinite()[:, :, None], (1 - cover) * beyond.isfinite()[:, :, None]
    return colours[0] * near + colours[1] * far


def _of(values: Float[Tensor, "S B F H W"], index: Tensor) -> Float[Tensor, "B F 1 H W"]:
    """The values of surface ``index`` of each pixel."""
    return values.gather(0, index[None])[0][:, :, None]


def _texture(found, surfaces: Surfaces, atlas: Tensor, index: Tensor) -> Float[Tensor, "B F 3 H W"]:
    """The colour of surface ``index`` of each pixel; textures go on beyond their tile as in a mirror."""
    tile = atlas.shape[-1]
    flat = index.flatten(1)
    density = surfaces.density.gather(1, flat).view_as(index)
    across, down = (
        _mirrored(
            value.gather(0, index[None])[0] * density
            + surfaces.shift[..., axis].gather(1, flat).view_as(index),
            tile,
        )
        for axis, value in enumerate((found.u, found.v))
    )
    xy = torch.stack([across, down + index * tile], dim=-1).flatten(1, 3)
    return sample_image(atlas, xy).unflatten(1, index.shape[1:]).movedim(-1, 2)


def _mirrored(texel: Tensor, tile: int) -> Tensor:
    turn = texel / (2 * tile)
    folded = (turn - turn.floor() - 0.5).abs() * (2 * tile)
    return folded.clamp(0.5, tile - 0.5)


def without_film(scene: Scene) -> Scene:
    """The same scene taken by a perfect camera: no blur, no change of brightness, no noise."""
    film = scene.film
    perfect = replace(
        film,
        gain=torch.ones_like(film.gain),
        shutter=torch.zeros_like(film.shutter),
        noise=torch.zeros_like(film.noise),
    )
    return replace(scene, film=perfect)
