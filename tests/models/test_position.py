"""Two ways to tell global matching where cells lie: sines that are added as well as rotations."""

import json
from math import cos, pi, sin

import pytest
import torch
import torch.nn.functional as F

import retracker
from retracker.checkpoint import build_net, same_net
from retracker.models.coarse import CoarseMatcher
from retracker.models.layers.attention import Attention, sine_encoding
from retracker.types import FeatureLevel, FeaturePyramid


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shaken(module):
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn(p.shape)
    return module


def matcher(position):
    return CoarseMatcher(16, level=0, heads=2, blocks=1, pool=2, window=1, backend="full", position=position)


def pyramid(rows, columns):
    level = FeatureLevel(map=F.normalize(torch.randn(1, 16, rows, columns), dim=1), stride=8.0, offset=4.0)
    return FeaturePyramid(levels=(level,), height=8 * rows, width=8 * columns)


def test_an_encoding_has_the_channels_asked_for_and_tells_axes_apart():
    encoded = sine_encoding(torch.tensor([[[3.0, 5.0], [5.0, 3.0]]]), dim=16, longest=128.0)
    assert encoded.shape == (1, 2, 16)
    assert not torch.allclose(encoded[0, 0], encoded[0, 1], atol=0.1)


def test_an_encoding_by_hand():
    (encoded,) = sine_encoding(torch.tensor([[32.0, 1.0]]), dim=8, longest=128.0)
    slow, fast = 2 * pi / 128, 2 * pi / 4
    angles = [32 * slow, 32 * fast, slow, fast]
    torch.testing.assert_close(encoded, torch.tensor([f(x) for f in (cos, sin) for x in angles]))


def test_products_of_encodings_depend_on_differences_of_positions_only():
    here, there = 20 * torch.rand(2, 9, 2)

    def product(shift):
        moved = (sine_encoding(xy + torch.tensor(shift), 32, 128.0) for xy in (here, there))
        return torch.einsum("nc,nc->n", *moved)

    torch.testing.assert_close(product([0.0, 0.0]), product([7.0, -3.0]), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(
        product([0.0, 0.0]), torch.einsum("nc,nc->n", *[sine_encoding(here, 32, 128.0)] * 2)
    )


def test_attention_adds_an_encoding_to_what_attends_and_to_what_is_attended_to():
    attention = shaken(Attention(16, heads=2, backend="full"))
    x, context, at, there = (
        torch.randn(1, 3, 16),
        torch.randn(1, 5, 16),
        torch.randn(3, 16),
        torch.randn(5, 16),
    )
    told = attention(x, *attention.look_up(context, there), turn=at)
    torch.testing.assert_close(told, attention(x + at, *attention.look_up(context + there)))


@pytest.mark.parametrize("position", ["rope", "sine"])
def test_an_untrained_matcher_is_nearest_neighbour_whatever_it_is_told_of_places(position):
    features = pyramid(4, 6)
    encoded = matcher(position).encode(features)
    torch.testing.assert_close(encoded.map, features.levels[0].map)


def test_cells_with_the_same_content_differ_by_their_place_once_sines_are_learnt():
    net, features = shaken(matcher("sine")), pyramid(4, 6)
    alike = features.map(lambda x: x[..., :1, :1].expand_as(x).contiguous())
    change = net.encode(alike).map - alike.levels[0].map
    assert (change - change.mean((2, 3), keepdim=True)).abs().amax() > 1e-3


def test_the_shipped_net_is_told_by_rotations_whether_it_says_so_or_not():
    shipped = retracker.load("tiny")
    stated = json.loads(json.dumps(shipped.config))
    stated["coarse"]["position"] = "rope"
    other = build_net(stated).eval()
    other.load_state_dict(shipped.state_dict())
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        own, same = (net.encode(images).matching for net in (shipped, other))
    assert torch.equal(own.map, same.map) and torch.equal(own.contexts[0][0], same.contexts[0][0])


def test_an_older_run_that_has_no_key_for_it_is_of_the_same_net_only_by_default():
    kept = retracker.load("tiny").config
    older = kept | {"coarse": {key: x for key, x in kept["coarse"].items() if key != "position"}}
    by_default, chosen = (older | {"coarse": older["coarse"] | {"position": p}} for p in ("rope", "sine"))
    assert same_net(older, older) and same_net(by_default, older)
    assert not same_net(chosen, older)
    assert not same_net(older, by_default)  # it has a key of which this program knows nothing
    assert not same_net(older | {"image_size": 7}, older) and not same_net(older, {})


def test_an_unknown_way_is_named():
    with pytest.raises(ValueError, match="coarse.position: expected one of rope, sine, got 'learnt'"):
        matcher("learnt")
