"""python -m retracker.eval, from the command line to the table, on a benchmark of two small clips."""

import json

import pytest
import torch
from omegaconf import OmegaConf

from retracker.checkpoint import build_net, save_safetensors
from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic
from retracker.eval import main
from retracker.media.video import probe

MICRO = ["benchmark.groups._target_=test_eval.micro_clips", "pretrained=none", "ckpt=untrained", "device=cpu"]


def micro_clips(groups, quick):
    """Stands in for a benchmark: one short clip per group, so that the whole command runs in seconds."""
    del quick
    return {group: Synthetic(1, group, num_frames=5, num_points=6, size=64, seed=3) for group in groups}


def test_the_command_scores_all_trackers_and_writes_its_files(tmp_path, capsys):
    arguments = [
        *MICRO,
        f"paths.output_dir={tmp_path}",
        "pictures=true",
        "benchmark.groups.groups=[easy,hard]",
    ]
    assert main(arguments) == 0
    content = json.loads((tmp_path / "scores.json").read_text())
    assert [(row["group"], row["tracker"]) for row in content["means"]] == [
        (group, tracker)
        for group in ("easy", "hard", "all")
        for tracker in ("stay", "lucas_kanade", "ReTracker")
    ]
    assert {score["frames"] for score in content["clips"]} == {5}
    shown = capsys.readouterr().out
    assert all(
        word in shown for word in ("AJ", "delta_avg", "OA", "PCK@1", "lucas_kanade", "ReTracker", "fps")
    )
    for name in ("easy_worst", "easy_best", "hard_worst", "hard_best"):
        assert probe(tmp_path / "pictures" / f"{name}.mp4").height >= 64


def test_the_same_seed_gives_the_same_untrained_scores(tmp_path):
    for name in ("a", "b"):
        assert main([*MICRO, f"paths.output_dir={tmp_path / name}", "benchmark.groups.groups=[easy]"]) == 0
    a, b = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("a", "b"))
    assert [s["metrics"] for s in a["clips"]] == [s["metrics"] for s in b["clips"]]


def test_a_checkpoint_is_evaluated_from_its_file_alone(tmp_path):
    torch.manual_seed(0)
    config = OmegaConf.to_container(compose_config("eval", ["model=tiny"]).model)
    save_safetensors(build_net(config), config, tmp_path / "net.safetensors")
    overrides = [f"ckpt={tmp_path / 'net.safetensors'}", "model=base", "benchmark.groups.groups=[easy]"]
    assert main([*MICRO, *overrides, f"paths.output_dir={tmp_path}", "baselines=[]"]) == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("benchmark=tapvid_davos", "synthetic_val"),
        ("ckpt=nowhere.ckpt", "nowhere.ckpt"),
        ("baselines=[raft]", "lucas_kanade"),
        ("data_root=/no/such/place", "/no/such/place"),
        ("device=abacus", "abacus"),
        ("qick=true", "qick"),
        ("benchmark.groups.groups=[impossible]", "impossible"),
        ("benchmark.groups.groups=[]", "benchmark.groups: no clip"),
        ("benchmark.query_mode=strided", "baselines=[]"),
        ("ckpt=5", "ckpt: expected a path or a packaged name, got 5"),
        ("data_root=2024", "data_root: expected a folder"),
        ("baselines=null", "baselines: expected a list of names, got None"),
        ("baselines=stay", "baselines: expected a list of names, got 'stay'"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(override, message, tmp_path, capfd):
    base = ["pretrained=none", f"paths.output_dir={tmp_path}"]
    assert main([*base, *([] if "ckpt" in override else ["ckpt=untrained"]), override]) == 2
    captured = capfd.readouterr()
    assert message in captured.err and captured.err.strip().count("\n") == 0, captured.err
    assert "Traceback" not in captured.err and not list(tmp_path.iterdir())


def test_an_output_directory_that_is_a_file_is_refused_before_the_work(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("retracker.eval.run_watched", lambda *_: pytest.fail("the work was done"))
    (tmp_path / "taken").touch()
    assert main([*MICRO, f"paths.output_dir={tmp_path / 'taken'}", "benchmark.groups.groups=[easy]"]) == 2
    captured = capfd.readouterr()
    assert "taken" in captured.err and captured.err.strip().count("\n") == 0, captured.err


def test_the_table_is_shown_even_if_it_cannot_be_written(tmp_path, capfd, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retracker.eval.report.write", full)
    assert main([*MICRO, f"paths.output_dir={tmp_path}", "benchmark.groups.groups=[easy]"]) == 2
    captured = capfd.readouterr()
    assert "lucas_kanade" in captured.out and "No space left" in captured.err


def test_strided_queries_are_scored_without_baselines(tmp_path):
    strided = ["benchmark.query_mode=strided", "baselines=[]", "benchmark.groups.groups=[easy]"]
    assert main([*MICRO, *strided, f"paths.output_dir={tmp_path}"]) == 0
