"""python -m retracker.eval, from the command line to its files, on benchmarks of a few small clips."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from retracker.checkpoint import build_net, save_safetensors
from retracker.commands.evaluation import suited
from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic
from retracker.eval import main
from retracker.media.video import probe

ROOT = Path(__file__).parents[2]
DEPENDS_ON_THE_DAY = ("timing", "timing.json")  # all that may differ between two runs of the same evaluation


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """A folder of benchmarks that has one: DAVIS, of five short clips in the public structure."""
    clips = Synthetic(5, "medium", num_frames=4, num_points=3, size=64, seed=3)
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
    assert {len(of_one["items"]) for of_one in content["contestants"].values()} == {5}
    assert content["protocol"]["query_mode"] == "first"
    settings = content["contestants"]["ReTracker"]["settings"]
    assert len(settings["sha256"]) == 64 and settings["ckpt"] == "net.safetensors"
    assert str(whole.parent) not in (whole / "results.json").read_text()  # nor any path of this machine
    assert {"code", "torch", "numpy"} <= set(content["versions"])
    assert all(word in (whole / "table.md").read_text() for word in ("AJ", "delta_avg", "OA", "CoTracker3"))
    assert len(list((whole / "predictions/ReTracker").glob("*.npz"))) == 5
    [worst] = (whole / "worst").iterdir()
    assert probe(worst).height >= 256
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_is_printed_beside_published_numbers(davis, net, tmp_path, capsys):
    assert evaluate(davis, net, tmp_path, "limit=1", "baselines=[stay]", "worst=0") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("stay", "ReTracker", "Track-On-R", "1 of 5", "results.json"))


def test_two_processes_give_the_same_numbers_as_one(whole, davis, net, tmp_path):
    command = launched(davis, net, tmp_path, "save_predictions=true", "worst=1", processes=2)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
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
    assert 2 <= len(done) < 5 and not (tmp_path / "results.json").exists()
    assert evaluate(davis, net, tmp_path, "save_predictions=true", "worst=1") == 0
    assert files(tmp_path) == files(whole)
    assert {name: (items / name).stat().st_mtime_ns for name in done} == done  # they were not done again


def environment():
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}


def quickly(root, *overrides, net="nobody asks for it"):
    """A run of one clip without a net."""
    few = ["limit=1", "worst=0", "tracker=lucas_kanade", f"data_root={root}", f"ckpt={net}"]
    return main(["benchmark=tapvid_davis", *few, *overrides])


def test_the_folder_is_named_after_all_that_the_numbers_depend_on(davis, tmp_path):
    for window in (21, 21, 15):
        window = f"tracker.method.settings.window={window}"
        assert quickly(davis, "baselines=[]", window, f"outputs={tmp_path}") == 0
    assert len(list((tmp_path / "eval_tapvid_davis").iterdir())) == 2


def test_baselines_may_join_later(davis, tmp_path):
    for baselines in ("[]", "[stay]", "[dis_flow]"):
        assert quickly(davis, f"baselines={baselines}", f"outputs={tmp_path}") == 0
    [folder] = (tmp_path / "eval_tapvid_davis").iterdir()
    assert len((folder / "timing/rank0.jsonl").read_text().splitlines()) == 3  # each was asked once
    assert list(json.loads((folder / "results.json").read_text())["contestants"]) == [
        "dis_flow",
        "lucas_kanade",
    ]


def test_among_processes_the_broken_are_named_and_the_others_evaluated(davis, tmp_path):
    """Item 1 of Kinetics is broken, which only the second process reads."""
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(davis, root)
    for folder in ("robotap", "tapvid_kinetics"):
        (root / folder).mkdir()
    (root / "robotap/robotap_split0.pkl").write_bytes(b"\x80\x04half a pickle")
    clip = public(Synthetic(1, "easy", num_frames=3, num_points=2, size=64, seed=0)[0])
    whole, broken = ([cv2.imencode(".jpg", frame)[1].tobytes() for frame in clip["video"]] for _ in range(2))
    broken[1] = b"no picture"
    kinetics = [{**clip, "video": whole}, {**clip, "video": broken}]
    (root / "tapvid_kinetics/0000_of_0010.pkl").write_bytes(pickle.dumps(kinetics))
    words = [
        "benchmark=all",
        "tracker=stay",
        "matcher=sift",
        "baselines=[]",
        "limit=2",
        "worst=0",
        "quick=true",
    ]
    command = launched(root, "nobody asks for it", out, *words, processes=2)
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert ended.returncode != 0
    embedded = ("synthetic_val", "synthetic_pose", "photo_homographies")
    for name in ("tapvid_davis", "tapvid_davis_strided", *embedded):
        assert (out / name / "results.json").exists()
        assert compose_title(out / name) in (out / "overview.md").read_text()
    assert not (out / "robotap").exists() and not (out / "tapvid_kinetics/results.json").exists()
    assert "kubric/valid" in ended.stdout and "hpatches-sequences-release/[iv]_*" in ended.stdout  # in vain
    mistakes = ended.stderr.split("error: ")[0]  # what torchrun has to say comes after it
    assert [name for name in ("robotap_split0.pkl", "0000_of_0010.pkl") if name not in mistakes] == []
    assert "robotap, tapvid_kinetics, tapvid_kinetics_strided: could not be evaluated" in ended.stderr


def compose_title(folder):
    """What tables call a benchmark."""
    return json.loads((folder / "results.json").read_text())["title"]


def test_with_all_benchmarks_each_takes_what_is_for_its_kind():
    common = ["rotations=[0,1]", "check_independence=true"]

    def composed(benchmark, baselines):
        return suited(compose_config("eval", [f"benchmark={benchmark}", f"baselines={baselines}", *common]))

    both = "[stay,sift,retracker]"
    videos, pairs = composed("tapvid_davis", both), composed("yfcc", both)
    assert (videos.baselines, pairs.baselines) == (["stay", "retracker"], ["sift", "retracker"])
    assert videos.check_independence and not pairs.check_independence
    assert (videos.rotations, pairs.rotations) == ([0, 1], [0])
    assert composed("hpatches", "[stay]").baselines is None  # the usual ones
    assert composed("hpatches", "[]").baselines == []
    with pytest.raises(ValueError, match="there is no 'raft'; there are trackers: .*; matchers: aliked"):
        composed("tapvid_davis", "[stay,raft]")


def test_paths_are_told_to_hydra_whatever_is_in_them(tmp_path):
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin/python"
    stub.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 0 || printf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    shutil.copy(ROOT / "setup.py", tmp_path / ".retracker-installed")
    names = "it's my net,a=1 {2}.ckpt", "2024"
    told = {**os.environ, "RETRACKER_VENV": str(tmp_path), "RETRACKER_PROCESSES": "1"}
    script = ["bash", str(ROOT / "scripts/evaluate.sh")]
    said = subprocess.run([*script, *names, "limit=1"], env=told, capture_output=True, text=True, check=True)
    module, benchmark, *overrides = said.stdout.splitlines()[1:]
    cfg = compose_config("eval", overrides)
    assert (module, benchmark) == ("retracker.eval", "benchmark=all")
    assert (cfg.ckpt, cfg.data_root, cfg.limit) == (*names, 1)
    told["RETRACKER_PROCESSES"] = "two"
    said = subprocess.run([*script, *names], env=told, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (
        2,
        "RETRACKER_PROCESSES: expected a number of processes, got 'two'\n",
    )


def test_points_are_asked_for_alone_where_that_is_wanted(davis, net, tmp_path):
    independence = ["check_independence=true", "independence.videos=2", "independence.points=2"]
    assert evaluate(davis, net, tmp_path, *independence, "baselines=[]", "worst=0", "limit=2") == 0
    told = json.loads((tmp_path / "results.json").read_text())["contestants"]["ReTracker"]["independence"]
    assert told == {"largest_px_at_256": 0.0, "videos": 2, "points_of_each": 2, "passed": True}


def test_rotations_are_part_of_the_name(davis, tmp_path):
    assert quickly(davis, "rotations=[0,1]", "baselines=[]", f"paths.output_dir={tmp_path}") == 0
    [name] = json.loads((tmp_path / "results.json").read_text())["contestants"]
    assert name == "lucas_kanade x 2 rotations"


def test_strided_queries_have_baselines_too(davis, tmp_path):
    strided = ["benchmark.query_mode=strided", "tracker=stay", f"paths.output_dir={tmp_path}"]
    assert quickly(davis, *strided) == 0
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
        ("visible_threshold=2", "visible_threshold: expected a number from 0 to 1, got 2"),
        ("match_threshold=high", "match_threshold: expected a number from 0 to 1, or null, got 'high'"),
        ("ckpt=tiny model.visible_threshold=0.9", "visible_threshold=P and match_threshold=P take the place"),
        ("ckpt=tiny backbone@model.backbone=xfeat", "only ckpt=untrained reads the model's settings"),
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


def test_a_folder_with_other_results_is_refused_by_what_differs(davis, tmp_path, capfd):
    out = f"paths.output_dir={tmp_path}"
    assert quickly(davis, out) == 0
    assert quickly(davis, out, "threads=2") == 2
    assert "threads: there 1, now 2" in capfd.readouterr().err
    assert quickly(davis, out, "threads=2", "overwrite=true") == 0
