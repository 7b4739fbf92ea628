"""The guide and README: links lead somewhere, snippets parse, and commands and options are known."""

import ast
import importlib
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from retracker.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *GUIDE]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HYDRA = ("train", "eval")  # they take key=value, and no option but --help


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(line.lstrip("#")) for line in prose(page).splitlines() if line.startswith("#")}


def calls(page: Path) -> list[list[str]]:
    """The words of every line in which retracker is called: the command's name, then its arguments."""
    found = []
    for body in blocks(page, "bash"):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["retracker"]:
                found.append(words[1:])
            elif words[:2] == ["python", "-m"] and words[2].partition(".")[0] == "retracker":
                name = words[2].partition(".")[2]
                found.append([name, *words[3:]] if name else words[3:])
    return found


@cache
def options(command: str) -> set[str]:
    """Every option that a command's help names."""
    module = importlib.import_module(COMMANDS[command][0])
    if command == "data":
        parts = (["check", "--help"], ["sample", "--help"], ["list", "--help"])
    else:
        parts = (["--help"],)
    code = f"import sys; from {module.__name__} import main; main(sys.argv[1:])"
    texts = [
        subprocess.run([sys.executable, "-c", code, *part], capture_output=True, text=True).stdout
        for part in parts
    ]
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", "\n".join(texts)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, part = target.partition("#")
        there = page if not path else (page.parent / path).resolve()
        assert there.exists(), target
        assert not part or part in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_parses(page):
    for body in blocks(page, "python"):
        ast.parse(body)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_is_known(page):
    for command, *words in calls(page):
        assert command in COMMANDS, command
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = {"--help"} if command in HYDRA else options(command) if given else set()
        assert given <= known, (command, given - known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_tool_and_script_that_is_called_exists(page):
    for body in blocks(page, "bash"):
        for name in re.findall(r"(?:python|bash) ((?:tools|scripts|examples)/[\w./]+)", body):
            assert (ROOT / name).exists(), name
