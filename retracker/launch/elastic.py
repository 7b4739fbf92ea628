"""torchrun, whose exit code says why: python -m retracker.launch.elastic, and torchrun's own words.

torchrun ends with 1 whatever its processes end with, and starts them again after any failure. Here a mistake
(exit code 2) ends it at once, and its exit code is that of the processes that failed.
"""

import signal
import sys
from collections.abc import Sequence

from torch.distributed import run
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher import api

from retracker.host import FAILURE, HUNG, MISTAKE, STOPPED

TELLING = (MISTAKE, HUNG, STOPPED)  # what others end with, then, is 1 or a signal
TOLD_TO_STOP = (signal.SIGTERM, signal.SIGUSR1)


class Agent(LocalElasticAgent):
    """Does not start again what would fail again."""

    def _monitor_workers(self, worker_group):
        result = super()._monitor_workers(worker_group)
        if any(failure.exitcode == MISTAKE for failure in result.failures.values()):
            self._remaining_restarts = 0
        return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun; returns the exit code."""
    api.LocalElasticAgent = Agent  # torchrun takes no other agent by its words
    try:
        run.main(argv)
    except ChildFailedError as error:
        sys.stderr.write(f"{error}\n")
        codes = {failure.exitcode for failure in error.failures.values()}
        return next((code for code in TELLING if code in codes), FAILURE)
    except SignalException as told:
        if told.sigval in TOLD_TO_STOP:  # and has handed it on, and waited until all had saved
            return STOPPED
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
