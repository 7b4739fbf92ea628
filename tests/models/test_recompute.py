"""What is computed again instead of kept: the same answers, the same gradients, and less that is kept."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from retracker.checkpoint import build_net
from retracker.losses.anchors import anchor_grid
from retracker.types import Noise

CONFIGS = Path(__file__).parents[2] / "configs"
WAYS = ((2, 0), (0, 1), (0, 2), (3, 5))  # frames encoded, and followed, at a time


@pytest.fixture
def moved(net):
    """A net whose zero-initialised layers have been shaken: behind zeros no gradient is seen."""
    return shaken(net)


def shaken(net):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return net


def noise_of(batch):
    shape, generator = batch.visible.shape, torch.Generator().manual_seed(2)
    return Noise(
        choice=torch.rand(shape, generator=generator),
        jitter=torch.randn(*shape, 2, generator=generator),
        drop=torch.rand(shape, generator=generator),
    )


def learn(net, batch, encode=0, follow=0):
    """What a net answers and learns, with all that training gives it; and the bytes it kept."""
    net.zero_grad()
    net.recompute(encode=encode, follow=follow)
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        found = net(
            batch.video,
            batch.queries,
            anchors=anchor_grid(batch, 16),
            noise=noise_of(batch),
            seen=batch.visible,
        )
    total = found.tracks.square().mean() + sum(frame.cells.mean() for frame in found.frames)
    total = total + sum(frame.anchor_cells.square().mean() for frame in found.frames[1:])
    total = total + sum(e.certainty.mean() + e.occlusion.mean() for f in found.frames for e in f.refined)
    total.backward()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return found.tracks.detach(), gradients, sum(kept.values())


@pytest.mark.parametrize(("encode", "follow"), WAYS)
def test_answers_and_gradients_are_the_same(moved, batch, encode, follow):
    """Up to rounding where frames are encoded in other numbers; else bit for bit, since all is done again."""
    tracks, gradients, _ = learn(moved, batch)
    found, other, _ = learn(moved, batch, encode, follow)
    assert other.keys() == gradients.keys()
    if encode == 0:
        assert torch.equal(found, tracks) and all(torch.equal(other[name], gradients[name]) for name in other)
    torch.testing.assert_close(found, tracks, atol=1e-3, rtol=0)
    for name, gradient in gradients.items():
        size = gradient.abs().max().item()
        torch.testing.assert_close(other[name], gradient, rtol=0, atol=1e-4 * size + 1e-7, msg=name)


def test_points_that_are_born_late_and_a_past_that_is_cut_off_are_computed_again_as_they_were(moved, batch):
    moved.detach_after = 2
    birth = torch.arange(batch.tracks.shape[2]).expand(2, -1) % 5
    late = replace(batch, queries=replace(batch.queries, frame=birth))
    tracks, gradients, _ = learn(moved, late)
    found, other, _ = learn(moved, late, follow=3)
    assert torch.equal(found, tracks) and all(torch.equal(other[name], gradients[name]) for name in gradients)


def test_in_mixed_precision_it_is_computed_again_in_mixed_precision(moved, batch):
    with torch.autocast("cpu", torch.bfloat16):
        tracks, gradients, _ = learn(moved, batch)
        found, other, _ = learn(moved, batch, follow=1)
    assert torch.equal(found, tracks) and all(torch.equal(other[name], gradients[name]) for name in gradients)


def test_less_is_kept(moved, batch):
    """Of what following keeps most goes, of what encoding keeps all but what goes in and comes out."""
    kept = {way: learn(moved, batch, *way)[2] for way in ((0, 0), (0, 1), (1, 0), (1, 1))}
    assert kept[0, 1] < 0.6 * kept[0, 0] and kept[1, 0] < 0.9 * kept[0, 0] and kept[1, 1] < 0.2 * kept[0, 0]


def test_without_gradients_nothing_is_computed_twice(moved, batch):
    calls = []
    moved.refiner.register_forward_hook(lambda *_: calls.append(1))
    moved.recompute(encode=1, follow=1)
    with torch.no_grad():
        moved(batch.video, batch.queries)
    assert len(calls) == 5


def test_a_trained_backbone_over_a_transformer_learns_the_same(batch):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        small = ["model=small", "model.backbone.dino.residual_channels=8", "model.refiner.dim=32"]
        cfg = compose("train", overrides=[*small, "model.refiner.iterations=[1,1,1]"])
    torch.manual_seed(0)
    net = shaken(build_net(OmegaConf.to_container(cfg.model, resolve=True)))
    batch = replace(batch, noise=None).map(lambda x: x[:1])
    _, gradients, kept = learn(net, batch)
    _, other, less = learn(net, batch, encode=5)
    assert "backbone.dino.residual.0.weight" in gradients and less < kept
    assert all(torch.equal(other[name], gradients[name]) for name in gradients)


def test_fewer_than_no_frames_are_refused(net):
    with pytest.raises(ValueError, match="recompute: expected numbers of frames"):
        net.recompute(encode=-1, follow=0)


def test_graphs_are_computed_again_as_well():
    """In a process of its own, like the test of compiled nets."""
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, str(script), "again"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "equal"
