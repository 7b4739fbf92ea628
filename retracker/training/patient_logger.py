"""TensorBoard's logger, but for one thing: curves that cannot be written do not end the training."""

import logging
import time
from collections.abc import Callable

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

log = logging.getLogger(__name__)

AGAIN = 120.0  # s until the next try


class PatientLogger(TensorBoardLogger):
    """Write curves and pictures where there is room; where there is none (a full disk), leave them out."""

    @property
    @rank_zero_experiment
    def experiment(self) -> object:
        """TensorBoard's writer."""
        writer = super().experiment
        files = writer.file_writer  # None once it is closed
        if files is not None and not isinstance(files.event_writer, PatientEvents):
            files.event_writer = PatientEvents(files.event_writer)
        return writer

    def save(self) -> None:
        """Write what is still held back."""
        try:
            super().save()
        except OSError as error:
            log.warning("hyperparameters could not be written: %s", error)


class PatientEvents:
    """A writer of events that drops them while it cannot write, and tries a new file now and then."""

    def __init__(self, events: object) -> None:
        self._make, self._logdir = type(events), events.get_logdir()
        self._events, self._again_at = events, 0.0

    def get_logdir(self) -> str:
        """The folder of the files."""
        return self._logdir

    def add_event(self, event: object) -> None:
        """Write it, some time."""
        self._attempt(lambda events: events.add_event(event))

    def flush(self) -> None:
        """Write all of them now."""
        self._attempt(lambda events: events.flush())

    def close(self) -> None:
        """Write all of them and no more."""
        self._attempt(lambda events: events.close())

    def reopen(self) -> None:
        """Go on after it was closed."""
        self._attempt(lambda events: events.reopen())

    def _attempt(self, action: Callable[[object], None]) -> None:
        if self._events is None and time.monotonic() < self._again_at:
            return
        try:
            if self._events is None:
                self._events = self._make(self._logdir)
            action(self._events)
        except OSError as error:
            self._events, self._again_at = None, time.monotonic() + AGAIN
            log.warning("curves cannot be written to %s for now: %s", self._logdir, error)
