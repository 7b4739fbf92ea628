"""A file fits in the head and a function on a screen."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("retracker/**/*.py"), *ROOT.glob("tools/**/*.py")])
FILE_LINES = 300
FUNCTION_LINES = 60  # aim at 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_and_its_functions_are_short(path):
    source = path.read_text()
    assert source.count("\n") < FILE_LINES
    functions = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = {
        f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno >= FUNCTION_LINES
    }
    assert long == {}
