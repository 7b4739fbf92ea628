"""python -m retracker.eval, from the command line to its files, on benchmarks of a few small clips."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from retracker.checkpoint import build_net, save_safetensors
from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic
from retracker.eval import main
from retracker.media.video import probe

ROOT = Path(__file__).parents[2]
DEPENDS_ON_THE_DAY = ("timing", "timing.json")  # all that may differ between two runs of the same evaluation


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """A folder of benchmarks that has one: DAVIS, of six short clips in the public structure."""
    clips = Synthetic(6, "medium", num_frames=6, num_points=5, size=64, seed=3)
    root = tmp_path_factory.mktemp("benchmarks")
    (root / "tapvid_davis").mkdir()
    (root / "tapvid_davis/tapvid_davis.pkl").write_bytes(
        pickle.dumps({f"clip-{i}": public(clips[i]) for i in range(len(clips))})
    )
    return root


def public(sample):
    """A clip as TAP-Vid stores one."""
    size = np.array(sample.video.shape[:-3:-1])
    return {
        "video": sample.video.permute(0, 2, 3, 1).numpy(),
        "points": (sample.tracks.transpose(0, 1).numpy() / size).astype(np.float32),
        "occluded": ~sample.visible.T.numpy(),
    }


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A small checkpoint: an untrained net."""
    torch.manual_seed(0)
    config = OmegaConf.to_container(compose_config("eval", ["model=tiny"]).model)
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save_safetensors(build_net(config), config, path)
    return path


def evaluate(root, net, out, *overrides):
    common = [f"data_root={root}", f"ckpt={net}", "image_size=64", "device=cpu", f"paths.output_dir={out}"]
    return main(["benchmark=tapvid_davis", *common, *overrides])


def files(folder):
    """The content of every file of a run, but for those that say when and how fast it was."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in DEPENDS_ON_THE_DAY
    }


def launched(root, net, out, *overrides, processes=1):
    """The command line of the same evaluation in processes of its own."""
    start = [sys.executable, "-m"]
    start += (
        ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        if processes > 1
        else []
    )
    common = [f"data_root={root}", f"ckpt={net}", "image_size=64", "device=cpu", f"paths.output_dir={out}"]
    return [*start, "retracker.eval", "benchmark=tapvid_davis", *common, *overrides]


@pytest.fixture(scope="module")
def whole(davis, net, tmp_path_factory):
    """One run, from beginning to end."""
    out = tmp_path_factory.mktemp("whole")
    assert evaluate(davis, net, out, "save_predictions=true", "worst=1") == 0
    return out


def test_the_command_scores_everybody_and_writes_its_files(whole):
    content = json.loads((whole / "results.json").read_text())
    assert list(content["contestants"]) == ["stay", "lucas_kanade", "ReTracker"]
    assert {len(of_one["items"]) for of_one in content["contestants"].values()} == {6}
    assert content["protocol"]["query_mode"] == "first"
    assert len(content["contestants"]["ReTracker"]["settings"]["sha256"]) == 64
    assert {"code", "torch", "numpy"} <= set(content["versions"])
    assert all(word in (whole / "table.md").read_text() for word in ("AJ", "delta_avg", "OA", "CoTracker3"))
    assert len(list((whole / "predictions/ReTracker").glob("*.npz"))) == 6
    [worst] = (whole / "worst").iterdir()
    assert probe(worst).height >= 256
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_is_printed_beside_published_numbers(davis, net, tmp_path, capsys):
    assert evaluate(davis, net, tmp_path, "limit=1", "baselines=[stay]", "worst=0") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("stay", "ReTracker", "Track-On-R", "1 of 6", "results.json"))


def test_the_same_again_gives_identical_files(whole, davis, net, tmp_path):
    assert evaluate(davis, net, tmp_path, "save_predictions=true", "worst=1") == 0
    assert files(tmp_path) == files(whole)


def test_two_processes_give_the_same_numbers_as_one(whole, davis, net, tmp_path):
    command = launched(davis, net, tmp_path, "save_predictions=true", "worst=1", processes=2)
    subprocess.run(command, check=True, env=environment(), capture_output=True, timeout=300)
    assert files(tmp_path) == files(whole)
    assert len(list((tmp_path / "timing").iterdir())) == 2  # both had something to do


def test_killed_and_started_again_it_gives_the_same(whole, davis, net, tmp_path):
    command = launched(davis, net, tmp_path, "save_predictions=true", "worst=1")
    with subprocess.Popen(command, env=environment(), start_new_session=True) as process:
        items = tmp_path / "items/ReTracker"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (items.is_dir() and len(list(items.glob("0*.json"))) >= 2):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    done = {path.name: path.stat().st_mtime_ns for path in items.glob("0*.json")}
    assert 2 <= len(done) < 6 and not (tmp_path / "results.json").exists()
    assert evaluate(davis, net, tmp_path, "save_predictions=true", "worst=1") == 0
    assert files(tmp_path) == files(whole)
    assert {name: (items / name).stat().st_mtime_ns for name in done} == done  # they were not done again


def environment():
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}


def test_the_folder_is_named_after_all_that_the_numbers_depend_on(davis, net, tmp_path):
    for override in ("image_size=64", "image_size=64", "image_size=48"):
        common = [f"data_root={davis}", f"ckpt={net}", "device=cpu", "limit=1", "worst=0", "baselines=[]"]
        assert main(["benchmark=tapvid_davis", *common, override, f"outputs={tmp_path}"]) == 0
    assert len(list((tmp_path / "eval_tapvid_davis").iterdir())) == 2


def test_every_benchmark_that_is_found_is_evaluated_and_shown_in_one_table(davis, net, tmp_path, capsys):
    common = [
        f"data_root={davis}",
        f"ckpt={net}",
        "image_size=48",
        "device=cpu",
        f"paths.output_dir={tmp_path}",
    ]
    assert main(["benchmark=all", *common, "baselines=[stay]", "limit=1", "worst=0", "quick=true"]) == 0
    shown = capsys.readouterr().out
    overview = (tmp_path / "overview.md").read_text()
    for name in ("tapvid_davis", "tapvid_davis_strided", "synthetic_val"):
        assert (tmp_path / name / "results.json").exists()
    assert "TAP-Vid DAVIS, strided" in overview and "TAP-Vid DAVIS, first" in overview
    assert "robotap" in shown and "robotap_split*.pkl" in shown.replace(
        "\n", ""
    )  # what was looked for in vain


def test_a_broken_benchmark_does_not_keep_others_from_being_evaluated(net, tmp_path, capfd):
    (tmp_path / "tapvid_davis").mkdir()
    (tmp_path / "tapvid_davis/tapvid_davis.pkl").write_bytes(b"\x80\x04half a pickle")
    common = [
        f"data_root={tmp_path}",
        f"ckpt={net}",
        "image_size=48",
        "device=cpu",
        "baselines=[]",
        "limit=1",
    ]
    assert main(["benchmark=all", *common, "worst=0", f"paths.output_dir={tmp_path / 'out'}"]) == 2
    captured = capfd.readouterr()
    assert "tapvid_davis.pkl" in captured.err and "Traceback" not in captured.err
    assert (tmp_path / "out/synthetic_val/results.json").exists()
    assert not (tmp_path / "out/tapvid_davis").exists()  # nothing half-written


def test_points_are_asked_for_alone_where_that_is_wanted(davis, net, tmp_path):
    independence = ["check_independence=true", "independence.videos=2", "independence.points=2"]
    assert evaluate(davis, net, tmp_path, *independence, "baselines=[]", "worst=0") == 0
    told = json.loads((tmp_path / "results.json").read_text())["contestants"]["ReTracker"]["independence"]
    assert told == {"largest_px_at_256": 0.0, "videos": 2, "points_of_each": 2, "passed": True}


def test_rotations_are_part_of_the_name(davis, net, tmp_path):
    assert evaluate(davis, net, tmp_path, "rotations=[0,1]", "limit=1", "baselines=[]", "worst=0") == 0
    assert list(json.loads((tmp_path / "results.json").read_text())["contestants"]) == [
        "ReTracker x 2 rotations"
    ]


def test_strided_queries_have_baselines_too(davis, net, tmp_path):
    assert evaluate(davis, net, tmp_path, "benchmark.query_mode=strided", "limit=1", "worst=0") == 0
    assert "lucas_kanade" in json.loads((tmp_path / "results.json").read_text())["contestants"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("benchmark=tapvid_davos", "synthetic_val"),
        ("benchmark=robotap", "robotap_split"),
        ("ckpt=nowhere.ckpt", "nowhere.ckpt"),
        ("baselines=[raft]", "lucas_kanade"),
        ("data_root=/no/such/place", "/no/such/place"),
        ("device=abacus", "abacus"),
        ("qick=true", "qick"),
        ("benchmark.query_mode=sometimes", "sometimes"),
        ("benchmark=synthetic_val benchmark.groups=[impossible]", "impossible"),
        ("benchmark=synthetic_val benchmark.groups=[]", "no item"),
        ("ckpt=5", "ckpt: expected a path or a packaged name, got 5"),
        ("data_root=2024", "data_root: expected a folder"),
        ("baselines=stay", "baselines: expected a list of names"),
        ("rotations=90", "rotations: expected a list"),
        ("threads=0", "threads: expected at least 1"),
        ("limit=0", "limit: expected at least 1"),
        ("worst=true", "worst: expected a whole number"),
        ("precision=fp64", "precision: expected one of fp32, bf16"),
        ("independence.points=0", "independence: expected"),
        ("tracker=raft", "tracker"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(override, message, davis, tmp_path, capfd):
    base = [f"paths.output_dir={tmp_path / 'out'}", "pretrained=none"]
    base += [] if "data_root" in override else [f"data_root={davis}"]
    base += [] if "benchmark=" in override else ["benchmark=tapvid_davis"]
    base += [] if "ckpt" in override else ["ckpt=untrained"]
    assert main([*base, *override.split()]) == 2
    captured = capfd.readouterr()
    assert message in captured.err and captured.err.strip().count("\n") == 0, captured.err
    assert "Traceback" not in captured.err and not (tmp_path / "out").exists()


def test_an_output_directory_that_is_a_file_is_refused_before_the_work(
    davis, net, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr("retracker.eval.run", lambda *_: pytest.fail("the work was done"))
    (tmp_path / "taken").touch()
    assert evaluate(davis, net, tmp_path / "taken", "baselines=[]") == 2
    captured = capfd.readouterr()
    assert "taken" in captured.err and captured.err.strip().count("\n") == 0, captured.err


def test_a_folder_with_other_results_is_refused_by_what_differs(davis, net, tmp_path, capfd):
    assert evaluate(davis, net, tmp_path, "baselines=[]", "limit=1", "worst=0") == 0
    assert evaluate(davis, net, tmp_path, "baselines=[]", "limit=1", "worst=0", "precision=bf16") == 2
    assert "precision: there" in capfd.readouterr().err
    assert (
        evaluate(
            davis, net, tmp_path, "baselines=[]", "limit=1", "worst=0", "precision=bf16", "overwrite=true"
        )
        == 0
    )
