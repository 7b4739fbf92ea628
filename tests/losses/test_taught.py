"""Terms that leave out what a teacher cannot know."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from retracker.losses.confidence import confidence_bce
from retracker.losses.occlusion import occlusion_bce
from retracker.losses.taught import where_exact


@pytest.mark.parametrize("term", [occlusion_bce, confidence_bce])
def test_clips_that_were_taught_count_for_nothing_and_others_as_ever(net, batch, term):
    torch.manual_seed(0)
    prediction = net(batch.video, batch.queries)
    wrapped = partial(where_exact, term=term, taught=["pseudo_labels"])
    torch.testing.assert_close(wrapped(prediction, batch), term(prediction, batch))
    second = replace(batch, name=(batch.name[0], "pseudo_labels/film/000000"))
    alone = torch.stack([batch.labelled[0], torch.zeros_like(batch.labelled[1])])
    expected = term(prediction, replace(second, labelled=alone))
    torch.testing.assert_close(wrapped(prediction, second), expected)
    assert expected < term(prediction, batch)
    both = replace(batch, name=("pseudo_labels/a", "pseudo_labels/b"))
    assert wrapped(prediction, both) == 0
