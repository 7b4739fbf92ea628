"""Lists of pairs of images: one pair a line."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from retracker.media.files import existing_file


@dataclass(frozen=True, kw_only=True)
class PairLine:
    """One line of a list: two images, or what is wrong with it."""

    number: int
    words: tuple[str, ...]
    folder: Path

    def paths(self) -> tuple[Path, Path]:
        """The two images. Raises ValueError if the line names not two."""
        if len(self.words) != 2:
            raise ValueError(f"expected two images, A B, got {len(self.words)}: {' '.join(self.words)}")
        first, second = (self.folder / word for word in self.words)
        return first, second


def read_pairs(path: Path) -> list[PairLine]:
    """The lines of a list, each "A B": files, relative to the list's own folder; quoted if they hold blanks.

    What follows a # is a remark. Raises OSError or ValueError if the list itself cannot be read or is empty.
    """
    try:
        lines = existing_file(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not a text file of pairs (A B)") from error
    found = [
        PairLine(number=number, words=_words(line), folder=path.parent)
        for number, line in enumerate(lines, start=1)
    ]
    found = [line for line in found if line.words]
    if not found:
        raise ValueError(f"{path}: holds no pairs, expected lines of two images: A B")
    return found


def stems(lines: list[PairLine]) -> list[str]:
    """What the results of each line are called: after both images; a number tells the same names apart."""
    taken: dict[str, None] = {}
    for line in lines:
        name = "_".join(Path(word).stem for word in line.words)
        candidates = (name if count == 1 else f"{name}_{count}" for count in range(1, len(lines) + 1))
        taken[next(candidate for candidate in candidates if candidate not in taken)] = None
    return list(taken)


def _words(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line, comments=True))
    except ValueError:  # a quote that nobody closes is part of a name
        return tuple(line.split())
