"""What a user installs: the wheel holds everything that runs, and works from any directory."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "retracker", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Built from a copy: setuptools leaves a build folder behind, and its stale files end in the next wheel.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", out, source], check=True)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def target(wheel, tmp_path_factory):
    """A folder with nothing but the wheel's contents."""
    folder = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel]
    subprocess.run(pip, check=True)
    return folder


@pytest.fixture
def python(target, tmp_path):
    """Run Python with the installed ReTracker, from an empty directory."""

    def run(*arguments):
        environment = {"PYTHONPATH": str(target), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["OMP_NUM_THREADS"] = "1"  # more would wait for one another where tests run in parallel
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def in_repository(folder, *patterns):
    return {
        path.relative_to(ROOT).as_posix() for pattern in patterns for path in (ROOT / folder).rglob(pattern)
    }


def test_the_wheel_holds_code_configs_weights_and_the_mark_of_types(wheel):
    kinds = ("*.py", "py.typed", "*.safetensors", "*.md", "*.yaml", "*.html", "*.css", "*.js", "*.svg")
    wanted = in_repository("retracker", *kinds)
    wanted |= {f"retracker/{path}" for path in in_repository("configs", "*.yaml")}
    assert "retracker/weights/tiny.safetensors" in wanted
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_it_is_imported_from_where_it_was_installed(python, target):
    run = python("-c", "import retracker; print(retracker.__file__)")
    assert run.stdout.strip() == str(target / "retracker/__init__.py"), run.stderr


def test_it_trains_from_any_directory_and_leaves_its_own_alone(python, target, tmp_path):
    before = set(target.rglob("*"))
    run = python("-m", "retracker.train", "+experiment=tracking", "+debug=fast", "paths.output_dir=out")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out/checkpoints/last.ckpt").is_file()
    assert set(target.rglob("*")) == before


@pytest.mark.parametrize("module", ["retracker.train", "retracker.eval"])
def test_a_misspelt_override_ends_in_one_line(python, module):
    run = python("-m", module, "no_such_key=1")
    assert run.returncode == 2
    assert "no_such_key" in run.stderr and run.stderr.count("\n") == 1


def test_the_console_script_explains_itself(python, target):
    run = python(target / "bin/retracker", "--help")
    assert run.returncode == 0, run.stderr
    assert "track" in run.stdout
