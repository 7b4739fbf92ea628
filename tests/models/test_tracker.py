import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from jaxtyping import TypeCheckError
from omegaconf import OmegaConf

from retracker.checkpoint import build_net
from retracker.data.datasets.synthetic import Synthetic
from retracker.losses.anchors import anchor_grid
from retracker.types import Noise, Queries, stack

CONFIGS = str(Path(__file__).parents[2] / "configs")


@pytest.fixture
def moved(net):
    """A net whose zero-initialised layers have been shaken: with zeros many properties hold for nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return net.eval()


@pytest.fixture
def noise(batch):
    b, t, n = batch.visible.shape
    g = torch.Generator().manual_seed(2)
    return Noise(
        choice=torch.rand(b, t, n, generator=g),
        jitter=torch.randn(b, t, n, 2, generator=g),
        drop=torch.rand(b, t, n, generator=g),
    )


def some(queries, index):
    return Queries(xy=queries.xy[:, index], frame=queries.frame[:, index])


def test_shapes_and_stages(net, batch):
    p = net(batch.video, batch.queries)
    assert p.tracks.shape == batch.tracks.shape
    frame = p.frames[1]
    assert frame.cells.shape[-1] == frame.grid.rows * frame.grid.columns + 1 == 65
    assert len(frame.refined) == len(frame.levels) == sum(net.refiner.iterations)


def test_the_past_does_not_see_the_future(moved, batch):
    whole = moved(batch.video, batch.queries)
    changed = batch.video.clone()
    changed[:, 3:] = 255 - changed[:, 3:]
    other = moved(changed, batch.queries)
    torch.testing.assert_close(other.tracks[:, :3], whole.tracks[:, :3], atol=1e-4, rtol=0)
    torch.testing.assert_close(other.confidence[:, :3], whole.confidence[:, :3], atol=1e-5, rtol=0)
    assert not torch.allclose(other.tracks[:, 3:], whole.tracks[:, 3:], atol=1e-2)


def test_streaming_equals_clip(moved, batch):
    state, found = None, []
    for t in range(batch.video.shape[1]):
        features = moved.encode(batch.video[:, t])
        frame, state = moved.step(features, state, batch.queries.xy, batch.queries.frame == t)
        found.append(frame.xy)
    # Convolutions over another batch size round differently: 1e-3 px.
    torch.testing.assert_close(
        torch.stack(found, 1), moved(batch.video, batch.queries).tracks, atol=1e-3, rtol=0
    )


def test_a_point_alone_is_tracked_as_among_others(moved, batch):
    together = moved(batch.video, batch.queries)
    for n in (0, 3):
        alone = moved(batch.video, some(batch.queries, [n]))
        torch.testing.assert_close(alone.tracks[:, :, 0], together.tracks[:, :, n], atol=1e-3, rtol=0)
        torch.testing.assert_close(alone.confidence[:, :, 0], together.confidence[:, :, n], atol=1e-4, rtol=0)


def test_points_do_not_depend_on_their_order(moved, batch):
    order = torch.randperm(batch.tracks.shape[2], generator=torch.Generator().manual_seed(0))
    shuffled = moved(batch.video, some(batch.queries, order))
    torch.testing.assert_close(
        shuffled.tracks, moved(batch.video, batch.queries).tracks[:, :, order], atol=1e-3, rtol=0
    )


def test_a_point_is_its_query_at_birth_and_hidden_before(moved, batch):
    queries = replace(batch.queries, frame=torch.full_like(batch.queries.frame, 2))
    p = moved(batch.video, queries)
    assert torch.equal(p.tracks[:, :3], queries.xy[:, None].expand(-1, 3, -1, -1))
    assert p.visible[:, 2].all() and (p.confidence[:, 2] == 1).all()
    assert not p.visible[:, :2].any() and (p.confidence[:, :2] == 0).all()
    supervised = torch.stack([f.supervised for f in p.frames], 1)
    assert not supervised[:, :3].any() and supervised[:, 3:].all()


def test_a_late_query_is_tracked_as_if_the_video_began_with_it(moved, batch):
    late = replace(batch.queries, frame=torch.full_like(batch.queries.frame, 2))
    first = replace(batch.queries, frame=torch.zeros_like(batch.queries.frame))
    torch.testing.assert_close(
        moved(batch.video, late).tracks[:, 2:], moved(batch.video[:, 2:], first).tracks, atol=1e-3, rtol=0
    )


def test_nothing_is_ever_nan_even_for_points_on_the_border(moved, batch):
    corners = torch.tensor(
        [[0.0, 0.0], [64.0, 64.0], [63.9, 0.1], [0.0, 64.0], [32.0, 0.0], [1.0, 1.0], [9, 9]]
    )
    queries = replace(batch.queries, xy=corners.expand(2, -1, -1))
    p = moved(torch.zeros_like(batch.video), queries)
    assert p.tracks.isfinite().all() and p.confidence.isfinite().all()


def test_any_frame_size_is_taken_and_padding_is_no_cell(moved, batch):
    p = moved(batch.video[..., :51, :45], replace(batch.queries, xy=batch.queries.xy.clamp(max=44)))
    grid = p.frames[0].grid
    last = (grid.columns - 1) * grid.stride + grid.offset, (grid.rows - 1) * grid.stride + grid.offset
    assert last[0] < 45 <= last[0] + grid.stride and last[1] < 51 <= last[1] + grid.stride
    assert p.frames[0].cells.shape[-1] == grid.rows * grid.columns + 1


def test_an_untrained_net_does_not_move_points_but_already_matches(net, batch):
    still = batch.video[:, :1].expand(-1, 3, -1, -1, -1)
    queries = replace(batch.queries, frame=torch.zeros_like(batch.queries.frame))
    prediction = net.eval()(still, queries)
    torch.testing.assert_close(prediction.tracks[:, -1], queries.xy)
    frame = prediction.frames[-1]
    found = frame.cells[..., :-1].argmax(-1)
    cells = torch.stack([found % frame.grid.columns, found // frame.grid.columns], dim=-1)
    away = (cells * frame.grid.stride + frame.grid.offset - queries.xy).abs().amax(-1)
    assert (away <= frame.grid.stride).float().mean() > 0.8  # in the query's cell or one beside it


@pytest.fixture(scope="module")
def dense_batch():
    """The clips of ``batch``, with the way of every pixel of frame 0."""
    clips = Synthetic(2, "easy", num_frames=5, num_points=7, size=64, seed=0, dense_flow=True)
    return stack([clips[0], clips[1]])


@pytest.mark.parametrize("with_flow", [True, False])
def test_every_parameter_learns(dense_batch, noise, with_flow):
    """Zero-initialised layers hide what lies before them; after three steps nothing may be hidden.

    Without flow the dense head has nothing to learn from: its gradient is zero, yet it is there.
    """
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        cfg = compose("train", overrides=["model.refiner.dense=true"])
    torch.manual_seed(0)
    net = build_net(OmegaConf.to_container(cfg.model, resolve=True))
    loss = instantiate(cfg.module.loss, _convert_="all")
    truth = dense_batch if with_flow else replace(dense_batch, flow=None)
    anchors = anchor_grid(truth, 16) if with_flow else None
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    for step in range(4):
        optimizer.zero_grad()
        prediction = net(truth.video, truth.queries, anchors=anchors, noise=noise, seen=truth.visible)
        loss(prediction, truth, step)[0].backward()
        optimizer.step()
    learning = {name: x.grad for name, x in net.named_parameters() if x.requires_grad}
    assert [name for name, gradient in learning.items() if gradient is None] == []
    still = {name for name, gradient in learning.items() if not gradient.abs().max() > 0}
    assert still == {name for name in learning if "spread" in name and not with_flow}


def test_mixed_precision_trains_on_finite_numbers(net, cfg, batch, noise):
    loss = instantiate(cfg.module.loss, _convert_="all")
    with torch.autocast("cpu", torch.bfloat16):
        prediction = net(batch.video, batch.queries, noise=noise, seen=batch.visible)
    total, terms = loss(prediction, batch, 0)
    total.backward()
    assert all(value.isfinite() for value in terms.values())
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    # 201.3 px in bf16 is 201: positions and logits keep all their digits.
    for frame in prediction.frames[1:]:
        for estimate in (frame.coarse, *frame.refined):
            assert estimate.xy.dtype == estimate.certainty.dtype == estimate.occlusion.dtype == torch.float32
        assert frame.cells.dtype == torch.float32


def test_training_noise_changes_the_result_and_its_absence_does_not(moved, batch, noise):
    quiet = moved(batch.video, batch.queries)
    assert torch.equal(moved(batch.video, batch.queries).tracks, quiet.tracks)
    loud = moved(batch.video, batch.queries, noise=noise)
    assert not torch.allclose(loud.tracks, quiet.tracks, atol=1e-3)
    again = moved(batch.video, batch.queries, noise=noise)
    assert torch.equal(again.tracks, loud.tracks)


def test_detaching_the_past_changes_gradients_and_nothing_else(moved, batch):
    def last_frame(detach_after):
        moved.detach_after = detach_after
        moved.zero_grad()
        p = moved(batch.video, batch.queries)
        p.frames[-1].refined[-1].xy.square().mean().backward()
        return p.tracks.detach(), moved.refiner.levels[0].query_key_value.weight.grad.clone()

    (whole, through), (cut, short) = last_frame(0), last_frame(1)
    assert torch.equal(whole, cut)
    assert not torch.allclose(through, short, rtol=1e-3)


@pytest.mark.parametrize("size", ["small", "base"])
def test_the_larger_sizes_build_and_run(size, batch):
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        cfg = compose("train", overrides=[f"model={size}"])
    torch.manual_seed(0)
    net = build_net(OmegaConf.to_container(cfg.model, resolve=True)).eval()
    with torch.inference_mode():
        whole = net(batch.video[:, :3], batch.queries)
        changed = batch.video[:, :3].clone()
        changed[:, 2] = 0
        assert torch.equal(net(changed, batch.queries).tracks[:, :2], whole.tracks[:, :2])
        alone = net(batch.video[:, :3], some(batch.queries, [1]))
    torch.testing.assert_close(alone.tracks[:, :, 0], whole.tracks[:, :, 1], atol=1e-3, rtol=0)
    assert whole.tracks.isfinite().all()


def test_a_wrong_shape_is_refused_by_name(net, batch):
    with pytest.raises(TypeCheckError, match="'video'"):
        net(batch.video[:, 0], batch.queries)


def test_a_wrong_field_is_refused_by_name(batch):
    with pytest.raises(TypeCheckError, match="'xy'"):
        Queries(xy=torch.zeros(2, 6, 3), frame=torch.zeros(2, 6, dtype=torch.long))
    with pytest.raises(TypeCheckError, match="'tracks'"):
        replace(batch, tracks=batch.tracks[:, :2])


def test_graphs_answer_and_learn_as_the_net_does_without_them():
    """In a process of its own: here each function is wrapped in a check of its types, which costs minutes."""
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "equal"


@pytest.mark.slow
def test_compiled_and_frozen_it_tracks_as_before():
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run(
        [sys.executable, str(script), "frozen"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "equal"
