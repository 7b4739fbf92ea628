"""How a process behaves that only reads data for another."""

import signal

import cv2
import torch


def settle(_: int) -> None:
    """One thread to each worker, and none ends when a cluster warns the whole process group.

    There are as many workers as cores to spare, and the main process is the one that saves and stops.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # 0: in the caller's own thread
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
