"""What a person at the page is told when something cannot be done: one sentence, no path of the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WRONG, ABSENT, BUSY, TOO_LARGE = 400, 404, 409, 413  # of HTTP


class Refusal(ValueError):
    """A request that is not granted, with the sentence that says why."""

    def __init__(self, sentence: str, status: int = WRONG) -> None:
        super().__init__(sentence)
        self.status = status


@contextmanager
def calling(path: Path, name: str) -> Iterator[None]:
    """Say of a file what goes wrong with it under the name that its owner knows, never where it lies."""
    try:
        yield
    except Refusal:
        raise
    except (ValueError, OSError) as error:
        raise Refusal(sentence(error, path, name)) from error


def sentence(error: BaseException, path: Path, name: str) -> str:
    """An error's message with the file's own name in place of its path."""
    text = " ".join(str(error).split()).replace(str(path), name)
    told = isinstance(error, ValueError | FileNotFoundError) and str(path.parent) not in text
    return text if told else f"{name}: cannot be used ({type(error).__name__})"
