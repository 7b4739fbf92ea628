from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from retracker.geometry.coords import sample, sample_patches
from retracker.models.choice import Choice
from retracker.models.coarse import CoarseMatcher
from retracker.models.layers.attention import Attention, full, linear, rope_angles, rotate
from retracker.models.memory import Memory, shift
from retracker.models.refiner import Refiner, correlation, fourier
from retracker.types import Estimate, FeatureLevel, FeaturePyramid, Grid, MatchLevel, Noise


def shaken(module):
    with torch.no_grad():
        for p in module.parameters():
            p += 0.1 * torch.randn(p.shape)
    return module


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def attend(attention, x, context, mask=None):
    return attention(x, *attention.look_up(context), mask)


def test_every_token_sees_every_other_and_no_batch_sees_another():
    """Guards against attending over heads or batch: an old and silent mistake."""
    attention = shaken(Attention(16, heads=2, backend="full"))
    x, context = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    changed = context.clone()
    changed[0, 4] += 1
    difference = (attend(attention, x, changed) - attend(attention, x, context)).abs().amax(-1)
    assert (difference[0] > 1e-4).all() and (difference[1] == 0).all()


def test_full_attention_is_the_textbook_formula():
    q, k, v = torch.randn(3, 1, 2, 4, 8).unbind(0)
    weights = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
    torch.testing.assert_close(full(q, k, v, None), weights @ v)


def test_linear_attention_is_its_quadratic_form():
    q, k, v = torch.randn(3, 1, 2, 6, 8).unbind(0)
    mask = torch.tensor([1, 1, 0, 1, 0, 1]).bool()[None, None, None]
    weights = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2) * mask
    expected = weights / weights.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(linear(q, k, v, mask), expected, atol=1e-5, rtol=1e-4)


def test_a_masked_key_changes_nothing():
    attention = shaken(Attention(16, heads=2, backend="full"))
    x, context = torch.randn(1, 3, 16), torch.randn(1, 5, 16)
    mask = torch.tensor([[True, True, False, True, True]])
    changed = context.clone()
    changed[0, 2] = 100
    assert torch.equal(attend(attention, x, changed, mask), attend(attention, x, context, mask))


def test_an_unknown_backend_is_named():
    with pytest.raises(ValueError, match="'fast' is unknown"):
        Attention(16, heads=2, backend="fast")


def test_rope_depends_on_differences_of_positions_only():
    q, k = torch.randn(2, 1, 16).unbind(0)
    place, other, move = torch.tensor([[[3.0, 5.0]], [[7.0, 1.0]], [[11.0, -4.0]]])

    def score(a, b):
        return (rotate(q, rope_angles(a, 16, 128.0)) * rotate(k, rope_angles(b, 16, 128.0))).sum()

    torch.testing.assert_close(score(place, other), score(place + move, other + move), atol=1e-4, rtol=1e-4)
    assert (score(place, other) - score(place, other + move)).abs() > 1e-3


def coarse(channels=16):
    return CoarseMatcher(channels, level=0, heads=2, blocks=1, pool=2, window=1, backend="full")


def pyramid(rows, columns, channels=16, stride=8.0, offset=4.0):
    level = FeatureLevel(
        map=F.normalize(torch.randn(1, channels, rows, columns), dim=1), stride=stride, offset=offset
    )
    return FeaturePyramid(levels=(level,), height=int(rows * stride), width=int(columns * stride))


def match(matcher, features, xy, target=None):
    features = replace(features, matching=matcher.encode(features))
    token = sample(features.matching, xy)
    nothing = token.new_zeros(*token.shape[:2], 0, token.shape[-1])
    return matcher(token, nothing, nothing[..., 0].bool(), xy, target or features.matching)


def test_an_untrained_matcher_finds_each_cell_again():
    matcher, features = coarse(), pyramid(6, 9)
    xy = torch.tensor([[[20.0, 12.0], [60.0, 44.0], [4.0, 4.0]]])  # centres of cells
    cells, grid, found = match(matcher, features, xy)
    assert cells[..., :-1].argmax(-1).tolist() == [[1 * 9 + 2, 5 * 9 + 7, 0]]
    torch.testing.assert_close(found.xy, xy, atol=0.1, rtol=0)  # expectation over a peaked soft-max
    assert (grid.rows, grid.columns) == (6, 9)


def test_a_sub_cell_match_is_the_expectation_over_the_cells_around():
    matcher = coarse()
    scores = torch.full((1, 1, 12), -50.0)
    scores[0, 0, 5] = scores[0, 0, 6] = 3.0  # columns 1 and 2 of row 1
    grid = Grid(rows=3, columns=4, stride=8.0, offset=0.5)
    found = matcher._estimate(torch.zeros(1, 1, 16), scores, torch.zeros(1, 1), grid)
    torch.testing.assert_close(found.xy, torch.tensor([[[8 * 1.5 + 0.5, 8.5]]]))


def test_the_dustbin_does_not_drift_with_resolution():
    matcher = coarse()
    one, four = pyramid(4, 4), pyramid(8, 8)
    same = one.levels[0].map.repeat(1, 1, 2, 2)
    four = replace(four, levels=(replace(four.levels[0], map=same),))
    xy = torch.tensor([[[12.0, 12.0]]])
    chances = [match(matcher, f, xy)[0].softmax(-1)[..., -1] for f in (one, four)]
    torch.testing.assert_close(chances[0], chances[1], atol=1e-4, rtol=1e-3)


def test_choice_prefers_the_previous_position_unless_a_sure_match_disagrees():
    choice = Choice(sure=0.5, far_cells=1.5, random_share=0.2, jitter_px=0.0)
    grid = Grid(rows=4, columns=4, stride=8.0, offset=4.0)
    #        far and sure; near; far but unsure; far but dustbin; near, was hidden
    match_xy = torch.tensor([[[40.0, 0.0], [11.9, 0.0], [40.0, 0.0], [40.0, 0.0], [4.0, 0.0]]])
    certainty = torch.tensor([[2.0, 2.0, -2.0, 2.0, 2.0]])
    hidden = torch.tensor([[-1.0, -1.0, -1.0, -1.0, 1.0]])
    cells = torch.zeros(1, 5, 17)
    cells[..., 3] = 1.0
    cells[0, 3, -1] = 2.0
    zero = torch.zeros(1, 5)
    matched = Estimate(xy=match_xy, certainty=certainty, occlusion=zero)
    last = Estimate(xy=torch.zeros(1, 5, 2), certainty=zero, occlusion=hidden)
    start = choice(cells, grid, matched, last, None)
    assert start.xy[0, :, 0].tolist() == [40.0, 0.0, 0.0, 0.0, 4.0]
    lots = Noise(choice=torch.full((1, 5), 0.15), jitter=torch.zeros(1, 5, 2), drop=torch.ones(1, 5))
    assert choice(cells, grid, matched, last, lots).xy.eq(0).all()  # drawn: previous
    lots = replace(lots, choice=torch.full((1, 5), 0.05))
    assert torch.equal(choice(cells, grid, matched, last, lots).xy, match_xy)  # drawn: match


def memory(period=1, **others):
    options = {"drop": 0.1, "replace": 0.1, "replace_px": 4.0, "write_threshold": 0.5, **others}
    return Memory(size=3, context=4, period=period, **options)


def write_numbers(store, count, sure):
    """Write frames whose features are 0, 1, 2 ...; what the slots hold afterwards, per point."""
    features = pyramid(4, 4)
    token = torch.zeros(1, 2, 16)
    state = store.empty((torch.zeros(1, 2, 9, 16),), token, dim=8, levels=1)
    for i in range(count):
        level = replace(features.levels[0], map=torch.full_like(features.levels[0].map, float(i)))
        cells = {"directions": torch.zeros(1, 16, 16), "contexts": ()}
        now = replace(features, levels=(level,), matching=MatchLevel(**vars(level), **cells))
        state = store.write(state, now, torch.full((1, 2, 2), 16.0), torch.tensor([sure]), radius=1)
    return state


def test_memory_is_written_only_where_sure_and_keeps_how_sure():
    state = write_numbers(memory(), 2, sure=[0.9, 0.4])
    assert state.tokens[0, 0, :, 0].tolist() == [1, 0, 0] and state.tokens[0, 1].eq(0).all()
    torch.testing.assert_close(state.gate[0], torch.tensor([[0.9, 0.9, 0.0], [0.0, 0.0, 0.0]]))
    assert state.patches[0].dtype == torch.float32 and state.written.tolist() == [[2, 0]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = write_numbers(memory(), 1, sure=[0.9, 0.4])
    assert half.patches[0].dtype == half.keys.dtype == torch.bfloat16


def test_foremost_keeps_the_latest_and_balanced_keeps_spread():
    latest = write_numbers(memory(period=1), 20, sure=[0.9, 0.9]).tokens[0, 0, :, 0].tolist()
    spread = write_numbers(memory(period=3), 20, sure=[0.9, 0.9]).tokens[0, 0, :, 0].tolist()
    assert latest == [19, 18, 17]
    assert spread == [19, 17, 14]  # slot 1 moves at writes 0, 3 .. 18; slot 2 at writes 0, 9, 18


def test_a_memory_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="context and period >= 1, got 3, 0 and 3"):
        Memory(3, 0, 3, 0.3, 0.1, 0.05, 4.0)


def test_memory_does_not_grow():
    few, many = (write_numbers(memory(), n, sure=[0.9, 0.9]) for n in (1, 50))
    assert [x.shape for x in (few.tokens, few.gate)] == [x.shape for x in (many.tokens, many.gate)]


def test_shift_leaves_its_argument_alone():
    ring = torch.arange(3.0).reshape(1, 1, 3)
    moved = shift(ring, torch.tensor([[9.0]]), torch.tensor([[[True, True, False]]]))
    assert moved.tolist() == [[[9.0, 0.0, 2.0]]] and ring.tolist() == [[[0.0, 1.0, 2.0]]]


def test_forget_hides_one_slot_in_the_given_share_of_frames():
    state = write_numbers(memory(), 4, sure=[0.9, 0.9])
    hidden = memory(drop=0.3).forget(state, torch.tensor([[0.15, 0.31]]))
    assert (hidden.gate[0] > 0).tolist() == [[True, False, True], [True, True, True]]
    assert hidden.patches[0].any(-1).any(-1)[0].tolist() == [[True, False, True], [True, True, True]]
    assert state.patches[0].all()


def refiner(dense=False):
    return Refiner([1, 2], 16, 2, template_radius=1, target_radius=2, memory_size=3, dense=dense)


def test_correlation_compares_each_cell_of_the_patches_with_each_cell_around_the_point():
    level = FeatureLevel(map=F.normalize(torch.randn(2, 8, 6, 7), dim=1), stride=4.0, offset=2.0)
    patches, xy = torch.randn(2, 5, 18, 8), torch.rand(2, 5, 2) * 40 - 6
    around = sample_patches(level, xy, 2)
    expected = torch.einsum("bnsc,bnpc->bnsp", around, patches).flatten(2)
    torch.testing.assert_close(correlation(patches, level, xy, 2), expected, rtol=0, atol=1e-5)


def test_a_frame_not_yet_remembered_is_not_attended_to():
    part = refiner().levels[0]
    for parameter in part.parameters():  # as if trained: new layers start as zeros
        torch.nn.init.normal_(parameter)
    token, keys, values = torch.randn(1, 2, 16), torch.randn(1, 2, 4, 2, 8), torch.randn(1, 2, 4, 2, 8)
    filled = torch.tensor([[[True, True, False, False], [False, False, False, False]]])
    other = [torch.where(filled[..., None, None], x, torch.full_like(x, 7.0)) for x in (keys, values)]
    found, key, value = part._look_back(token, [keys, values, filled])
    torch.testing.assert_close(part._look_back(token, [*other, filled])[0], found)
    torch.testing.assert_close(found[0, 1], part.attended(value[0, 1]))  # only the present is there to see
    query = part.query_key_value(part.norm(token))[..., :16]
    q, k, v = (x[0].unflatten(-1, (2, 1, 8)) for x in (query, key, value))  # 2 points, 2 heads
    k, v = (torch.cat([now, x[0].transpose(1, 2)], dim=2) for now, x in ((k, keys), (v, values)))
    kernel = full(q, k, v, F.pad(filled, (1, 0), value=True)[0, :, None, None])
    torch.testing.assert_close(found[0], part.attended(kernel.flatten(1)), rtol=1e-4, atol=1e-4)


def test_refinement_starts_as_the_identity():
    part = refiner(dense=True)
    level = FeatureLevel(map=F.normalize(torch.randn(1, 8, 8, 8), dim=1), stride=4.0, offset=2.0)
    offsets = part.dense(torch.randn(1, 2, 16), level)
    assert part.level_of_iteration == (0, 1, 1)
    assert torch.equal(offsets["dense"], offsets["dense_offsets"].expand(1, 2, -1, -1))
    assert offsets["dense_offsets"][0].tolist() == [-4.0, -4.0]


def test_fourier_features_tell_displacements_apart_up_to_their_reach():
    steps = torch.linspace(-15.9, 15.9, 319)[:, None]
    distance = torch.cdist(fourier(steps), fourier(steps)) + 10 * torch.eye(319)
    assert distance.min() > 0.01
