import pytest
import torch

from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.synthetic_val import SyntheticValBenchmark
from retracker.data.synthetic.validation import synthetic_val


def test_its_clips_are_those_of_the_embedded_set_group_by_group():
    benchmark = SyntheticValBenchmark("synthetic_val", ["easy", "hard"], quick=True)
    named = [benchmark.item_name(i) for i in range(len(benchmark))]
    assert named == [f"synthetic_val/{group}-{clip}" for group in ("easy", "hard") for clip in (0, 1)]
    assert [benchmark.group(i) for i in range(4)] == ["easy", "easy", "hard", "hard"]
    item = benchmark.read(1)
    assert item.name == named[1] and torch.equal(item.video, synthetic_val("easy", quick=True)[1].video)


def test_an_oracle_scores_one():
    benchmark = SyntheticValBenchmark("synthetic_val", ["easy"], quick=True)
    item = benchmark.read(0)
    truth = Tracked(tracks=item.tracks, visible=item.visible, confidence=item.visible.float())
    assert set(benchmark.score(item, truth).values()) == {1.0}


def test_few_clips_are_not_taken_for_all_of_them():
    quick, whole = (SyntheticValBenchmark("synthetic_val", ["easy"], quick=quick) for quick in (True, False))
    assert (len(quick), len(whole)) == (2, 8)
    assert quick.title != whole.title and quick.protocol != whole.protocol


def test_an_unknown_group_is_told():
    with pytest.raises(ValueError, match="synthetic_val has the groups easy, medium, hard; got"):
        SyntheticValBenchmark("synthetic_val", ["odd"], quick=True)
