"""Commands of one program, several at a time: told to stop when it is, and each alone in its folder."""

import fcntl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Children:
    """What a program has started and waits for, in threads of its own."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        self._change = threading.RLock()  # stop() is called in the middle of anything

    def run(self, words: Sequence[str], environ: Mapping[str, str], log: IO[str], lock: int) -> int | None:
        """Run a command to its end: its exit code, or None if nothing is started any more.

        It holds ``lock`` as long as it lives, also without this program.
        """
        with self._change:
            if self.stopped:
                return None
            child = subprocess.Popen(words, env=environ, stdout=log, stderr=log, pass_fds=[lock])
            self._running.add(child)
        code = child.wait()
        with self._change:
            self._running.remove(child)
        return code

    def stop(self, *_: object) -> None:
        """Tell all to stop, and start no more; as it is, it can handle a signal."""
        with self._change:
            self.stopped = True
            for child in self._running:
                child.terminate()


@contextmanager
def alone_in(folder: Path) -> Iterator[int | None]:
    """Hold the lock of a folder: its descriptor, or None if somebody else does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file.fileno()
