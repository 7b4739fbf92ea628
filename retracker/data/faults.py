"""What cannot be read: counted over all workers, named, and no longer tolerated when there is too much."""

import multiprocessing
import warnings
import zipfile
import zlib
from collections.abc import Sequence

# What a damaged file raises, whatever codec reads it. A fault of ours among them soon fails more than 1 %.
CORRUPT = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)
TOLERATED_SHARE = 0.01  # of the samples drawn; above it a data set is broken, not unlucky
LUCK = 2  # standard deviations above that share, which a sound set may well be after few draws
MANY = 100  # draws: below this many, the share says nothing
FEW = 10  # draws: from here on, a source of which most cannot be read is hopeless
LISTED = 8  # of the first corrupt samples, for the report
LINE = 240  # bytes kept of what is said of each


class DataFault(RuntimeError):
    """The data are such that training must stop. ``str`` is one line, unless it crossed from a worker."""


class TooManyCorruptSamples(DataFault):
    """More samples fail than bad luck explains: training must not go on as if nothing were wrong."""


class CorruptSample(ValueError):
    """A sample that cannot be read: which one of its data set, and why."""

    def __init__(self, index: int, reason: Exception) -> None:
        super().__init__(index, reason)
        self.index, self.reason = index, reason

    def __str__(self) -> str:
        return f"[{self.index}]: {self.reason}"


class Faults:
    """How many samples of each source were drawn, and how many of them were corrupt, over all workers."""

    def __init__(self, names: Sequence[str]) -> None:
        shared = multiprocessing.get_context("spawn")  # these reach workers that fork, too
        self.names = tuple(names)
        self.counts = shared.Array("q", 2 * len(self.names))  # drawn, then corrupt, of each source
        self.lines = shared.Array("c", LISTED * LINE, lock=False)  # under the lock of the counts

    @property
    def drawn(self) -> list[int]:
        """Of each source, in the order of the names."""
        return self._counted()[: len(self.names)]

    @property
    def corrupt(self) -> list[int]:
        """Of each source, in the order of the names."""
        return self._counted()[len(self.names) :]

    def sound(self, which: int) -> None:
        """Count a sample that could be read."""
        with self.counts.get_lock():
            self.counts[which] += 1

    def broken(self, which: int, error: CorruptSample) -> None:
        """Count and name one that could not. Raises TooManyCorruptSamples when that is no longer bad luck.

        More than 1 % is too much, of all samples and of each source: else one that is rarely drawn could
        be broken altogether. So are most of the first few of a source.
        """
        place = f"{self.names[which]}{error}"  # pointodyssey[17]: <path>: ...
        with self.counts.get_lock():
            self.counts[which] += 1
            self.counts[len(self.names) + which] += 1
            drawn, corrupt = self.drawn, self.corrupt
            self._list(place)
        warnings.warn(f"skipped corrupt sample {place} ({sum(corrupt)} so far)", stacklevel=3)
        of_source = (drawn[which], corrupt[which], f" of {self.names[which]}")
        for total, failed, whose in (of_source, (sum(drawn), sum(corrupt), "")):
            if too_many(total, failed):
                raise TooManyCorruptSamples(
                    f"{failed} of {total} samples{whose} could not be read; the first: {self._listed()}"
                ) from error

    def report(self) -> str:
        """One line on what was skipped, with the first of them; nothing if all could be read."""
        drawn, corrupt = self.drawn, self.corrupt
        if not any(corrupt):
            return ""
        of_each = zip(self.names, drawn, corrupt, strict=True)
        counts = ", ".join(f"{failed} of {total} of {name}" for name, total, failed in of_each if failed)
        return f"skipped as corrupt: {counts}; the first: {self._listed()}"

    def _counted(self) -> list[int]:
        return list(self.counts.get_obj())  # without the lock: a worker killed while it counts keeps it

    def _list(self, text: str) -> None:
        line = " ".join(text.split()).encode()[: LINE - 1]
        for place in range(0, LISTED * LINE, LINE):
            there = self.lines[place : place + LINE].rstrip(b"\0")
            if there == line:
                return
            if not there:
                self.lines[place : place + len(line)] = line
                return

    def _listed(self) -> str:
        lines = [self.lines[i * LINE : (i + 1) * LINE].rstrip(b"\0") for i in range(LISTED)]
        return "; ".join(line.decode(errors="ignore") for line in lines if line)


def too_many(drawn: int, corrupt: int) -> bool:
    """Whether so many failures are more than bad luck."""
    if drawn < MANY:
        return drawn >= FEW and corrupt > drawn / 2
    tolerated = TOLERATED_SHARE * drawn
    return corrupt > tolerated + LUCK * tolerated**0.5
