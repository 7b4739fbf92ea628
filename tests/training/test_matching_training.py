"""Training on pairs of views: what is learned, validated and drawn."""

import json
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from small_training import BESIDE_PAIRS, PAIRS, QUICK
from test_training_run import TWO, events, on_two_processes, weights
from torch import nn

from retracker.checkpoint import build_net, load
from retracker.commands.pose_scores import EMBEDDED, REAL, PoseScores, pose_validation
from retracker.configuration import compose_config
from retracker.train import train
from retracker.training.pose_validation import PoseValidation, gathered, with_weights
from retracker.training.progress import ProgressBar

SMALL = (*QUICK, *PAIRS, "total_steps=2", "trainer.devices=1", "callbacks.pose.num_pairs=2")
VALIDATION = ("data.val.pairs.size=64", "data.val.num_points=9")
CLIPS = (*BESIDE_PAIRS, "data.block=1")


def run(experiment, directory, *overrides):
    overrides = [f"+experiment={experiment}", *SMALL, f"paths.output_dir={directory}", *overrides]
    return train(compose_config("train", overrides))


def test_a_run_learns_from_anchors_and_leaves_pose_pictures_and_a_best_checkpoint(tmp_path):
    trainer = run("matching", tmp_path, *VALIDATION)
    tags = events(tmp_path).Tags()
    for name in ("train/anchor", "train/PCK@1", "val/PCK@3", "val/PCK@5"):
        assert name in tags["scalars"]
    for name in ("AUC@5", "AUC@10", "AUC@20", "precision", "matches"):
        assert f"val/pose_{name}" in tags["scalars"]
    assert {"matches/0", "dustbin/0", "certainty/0", "coarse/0/point0"} <= set(tags["images"])
    assert "tracks/0" not in tags["images"]  # a pair has no video
    assert trainer.callback_metrics["train/anchor"] > 0
    best = trainer.callbacks[0]
    assert best.monitor == "val/pose_AUC@10" and load(best.best_path).image_size == 256


def test_clips_and_pairs_are_trained_together_and_both_are_validated(tmp_path):
    trainer = run("joint", tmp_path, *CLIPS, "total_steps=4", "trainer.val_check_interval=4")
    scalars = events(tmp_path).Tags()["scalars"]
    assert {"val/AJ", "val/pose_AUC@10"} <= set(scalars)
    stream = trainer.datamodule.stream
    assert {stream[n].video.shape[0] for n in range(4)} == {2, 3}
    assert {"tracks/0", "matches/0"} <= set(events(tmp_path).Tags()["images"])


def train_as_one_of_two(rank, directory):
    trainer = run("matching", directory, *VALIDATION, *TWO)
    torch.save(weights(trainer), directory / f"rank{rank}.pt")
    shown = {name: float(value) for name, value in trainer.callback_metrics.items() if "val/" in name}
    (directory / f"rank{rank}.json").write_text(json.dumps(shown, sort_keys=True))


def test_two_processes_share_the_pairs_and_know_the_same_scores(tmp_path):
    on_two_processes(train_as_one_of_two, tmp_path)
    ends = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
    told = [(tmp_path / f"rank{rank}.json").read_text() for rank in range(2)]
    assert told[0] == told[1] and "val/pose_AUC@10" in told[0]


@pytest.mark.slow
def test_one_pair_is_learned_by_heart(tmp_path):
    trainer = train(
        compose_config(
            "train",
            [
                "+experiment=matching",
                "+debug=overfit",
                "trainer.accelerator=cpu",
                "data.train.posed.size=128",
                "data.pairing.num_points=128",
                "module.supervision.num_anchors=256",
                f"paths.output_dir={tmp_path}",
            ],
        )
    )
    assert trainer.callback_metrics["val/PCK@1"] > 0.95


class Ones:
    """Pairs whose score is what a net makes of a number."""

    def __init__(self, length):
        self.length, self.asked = length, []

    def __len__(self):
        return self.length

    def score(self, net, index):
        self.asked.append(index)
        return {"value": float(net(torch.tensor([1.0])))}

    def summarise(self, scores):
        return {"mean": sum(one["value"] for one in scores.values()) / len(scores)}


class Doubling(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.factor * x

    def twice(self, x):
        return self(self(x))


@pytest.mark.parametrize(
    ("limit", "asked"), [(1.0, [0, 1, 2, 3]), (3, [0, 1, 2]), (9, [0, 1, 2, 3]), (0.5, [0, 1]), (0.1, [0])]
)
def test_averaged_weights_are_scored_on_as_many_pairs_as_validation_has(limit, asked):
    scorer, logged = Ones(4), {}
    module = SimpleNamespace(
        net=Doubling(), averaged=lambda: {"factor": torch.tensor(5.0)}, log_dict=logged.update
    )
    trainer = SimpleNamespace(limit_val_batches=limit, global_rank=0, world_size=1)
    PoseValidation(scorer).on_validation_epoch_end(trainer, module)
    assert scorer.asked == asked and logged == {"val/pose_mean": 5.0}
    assert module.net.factor == 2.0


def test_a_net_has_other_weights_for_as_long_as_it_is_used_whatever_is_called():
    net = Doubling()
    found = with_weights(
        net, {"factor": torch.tensor(3.0)}, lambda used: {"twice": float(used.twice(1.0).detach())}
    )
    assert found == {"twice": 9.0} and net.twice(1.0) == 4.0
    assert with_weights(net, {}, lambda used: {"twice": float(used.twice(1.0).detach())}) == {"twice": 4.0}


def test_scores_are_put_into_the_order_of_pairs():
    assert list(gathered({2: {}, 0: {}}, 1)) == [0, 2]


def test_a_benchmark_of_pose_is_asked_as_an_evaluation_asks_it(tmp_path):
    net = build_net(OmegaConf.to_container(compose_config("train", []).model))
    callback = pose_validation("auto", str(tmp_path / "nowhere"), num_pairs=3, grid=3)
    scorer = callback.scorer
    assert scorer.benchmark.name == EMBEDDED and len(scorer) == 3
    assert scorer.indices == [0, round((len(scorer.benchmark) - 1) / 2), len(scorer.benchmark) - 1]
    scores = scorer.score(net.eval(), 0)
    assert scores["pose_error"] >= 0 and scorer.score(net, 0) == scores  # RANSAC begins as before
    found = scorer.summarise({0: scores})
    assert set(found) == {"AUC@5", "AUC@10", "AUC@20", "precision", "matches"}
    assert 0 <= found["AUC@5"] <= found["AUC@20"] <= 1


def test_real_pairs_are_chosen_where_their_list_is(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("retracker.commands.pose_scores._made", lambda name, _: made.append(name))
    monkeypatch.setattr("retracker.commands.pose_scores.PoseScores", lambda *_: Ones(1))
    pose_validation("auto", str(tmp_path), num_pairs=1, grid=1)
    (tmp_path / "yfcc1500").mkdir()
    (tmp_path / "yfcc1500/reichstag.npz").touch()
    pose_validation("auto", str(tmp_path), num_pairs=1, grid=1)
    assert made == [EMBEDDED, REAL]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"benchmark": "synthetic_val"},
            "pose.benchmark: expected one of posed pairs of views, got synthetic_val",
        ),
        ({"num_pairs": 0}, "expected num_pairs and grid of at least 1, got 0 and 4"),
        ({"benchmark": REAL}, "pose.benchmark yfcc1500: .*nowhere: no such folder"),
    ],
)
def test_what_measures_no_pose_is_refused_in_one_sentence(settings, message, tmp_path):
    usual = {"benchmark": EMBEDDED, "data_root": str(tmp_path / "nowhere"), "num_pairs": 1, "grid": 4}
    with pytest.raises(ValueError, match=message):
        pose_validation(**usual | settings)


def test_a_root_with_any_letters_in_its_name_is_that_folder(tmp_path):
    odd = tmp_path / "it's = a, {root}"
    odd.mkdir()
    assert isinstance(pose_validation("auto", str(odd), num_pairs=1, grid=1).scorer, PoseScores)


def test_the_progress_bar_says_what_it_is_asked_for_and_knows():
    bar = ProgressBar(["train/PCK@1", "val/AJ", "val/pose_AUC@10"], every_n_steps=1)
    values = {"train/loss": 1.25, "train/PCK@1": 0.5, "train/EPE": 3.0, "val/AJ": 0.125}
    assert bar._text(SimpleNamespace(callback_metrics=values)) == "loss 1.250  PCK@1 0.500  val AJ 0.125"
