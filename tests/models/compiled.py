"""Is a compiled net the net it was? A script, run by test_tracker.py; prints "equal".

As graphs only, which needs no C++ compiler: what Inductor makes of a graph is PyTorch's own. With the word
"again" much is computed again in the backward pass. With "frozen" as tracking uses it: by Inductor, weights
as constants.
"""

import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from retracker.checkpoint import build_net
from retracker.data.datasets.synthetic import Synthetic
from retracker.inference.clip import track
from retracker.types import Noise, stack

CONFIGS = Path(__file__).parents[2] / "configs"


def main():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = OmegaConf.to_container(compose("train").model, resolve=True)
    torch.manual_seed(0)
    net = build_net(config).eval()
    with torch.no_grad():  # with layers that start at zero many properties hold for nothing
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape)
    clips = Synthetic(length=2, difficulty="easy", num_frames=4, num_points=7, size=64, seed=0)
    if "frozen" in sys.argv:
        tracks(net, clips[0])
    else:
        net.recompute(encode=2, follow=1) if "again" in sys.argv else None
        answers_and_gradients(net, stack([clips[0], clips[1]]))
    print("equal")  # noqa: T201 -- what the test looks for


def answers_and_gradients(net, batch):
    shape = batch.visible.shape
    noise = Noise(choice=torch.rand(shape), jitter=torch.randn(*shape, 2), drop=torch.rand(shape))

    def learn():
        net.zero_grad()
        found = net(batch.video, batch.queries, noise=noise)
        (found.tracks.mean() + found.frames[-1].cells.square().mean()).backward()
        gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        return found.tracks.detach(), gradients

    names, expected, graphs = set(net.state_dict()), learn(), []

    def backend(graph, inputs):
        assert all(isinstance(value, torch.Tensor) for value in inputs)  # no sizes that are left open
        graphs.append(graph)
        return graph.forward

    net.compile(backend=backend)
    torch.testing.assert_close(learn(), expected)
    assert set(net.state_dict()) == names  # checkpoints know nothing of it
    # Encoding, and following: with points that are all new, and with some that have been there before.
    assert 2 <= len(graphs) <= 4, len(graphs)
    net(batch.video[..., :48], batch.queries)  # frames of another size
    assert len(graphs) <= 8, len(graphs)


def tracks(net, clip):
    queries = torch.cat([clip.queries.frame[:, None].float(), clip.queries.xy], dim=1)
    before = track(net, clip.video, queries)
    net.compile(frozen=True)
    after = track(net, clip.video, queries)
    torch.testing.assert_close(after.tracks, before.tracks, atol=0.02, rtol=0)
    torch.testing.assert_close(after.confidence, before.confidence, atol=0.01, rtol=0)


if __name__ == "__main__":
    main()
