"""tools/train_release.sh: what it does takes longer than a test may; what it refuses is said at once."""

import subprocess
from pathlib import Path

import pytest

from retracker.configuration import compose_config

SCRIPT = Path(__file__).parents[2] / "tools" / "train_release.sh"


@pytest.mark.parametrize("words", [[], ["soon"], ["-5"]])
def test_without_minutes_it_says_how_it_is_used(tmp_path, words):
    done = subprocess.run(
        ["bash", SCRIPT, *words], env={"PATH": "/usr/bin:/bin", "RETRACKER_OUT": str(tmp_path / "out")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("usage:") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_nothing_that_the_release_sees_is_a_photograph_that_matchers_are_measured_on():
    train = compose_config("train", ["+experiment=tiny_release"]).data.train
    rendered = {name: source for name, source in train.items() if "spare_held_out" in source}
    assert all(source.spare_held_out for source in rendered.values())
    assert train.keys() - rendered.keys() == {"posed"}  # whose rooms are painted with the others anyway
