"""How a process behaves that only reads data for another."""

import signal

import cv2
import torch

LAST = 120  # s: as long as any cluster waits between its warning and the end


def settle(_: int) -> None:
    """One thread to each worker, and none ends at once when a cluster warns the whole process group.

    There are as many workers as cores to spare, and the main process is the one that saves and stops. When
    it exits it sends the same signal to workers that are left, and waits for them: so they end some time.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # 0: in the caller's own thread
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST))
