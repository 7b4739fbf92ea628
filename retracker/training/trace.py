# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What each process learnt from, step by step, in a file: proof that a run was exact, whatever befell it."""

import json
import time
from pathlib import Path

import pytorch_lightning as pl


class StreamTrace(pl.Callback):
    """Append to ``rank<r>.jsonl`` a line per start, with its step, and one per batch, with its clips' names.

    A batch is noted before it is learnt from: whatever of it is saved, the line is there.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._append(trainer, {"start": trainer.global_step})

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._append(trainer, {"step": trainer.global_step + 1, "clips": list(batch.name)})

    def _append(self, trainer: pl.Trainer, line: dict) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / f"rank{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line | {"time": time.time()}) + "\n")


def steps_that_count(path: Path) -> dict[int, list[str]]:
    """The clips of each step that the weights of the end come from: a start takes later steps again."""
    steps: dict[int, list[str]] = {}
    for line in lines(path):
        if "start" in line:
            steps = {step: clips for step, clips in steps.items() if step <= line["start"]}
        else:
            steps.setdefault(line["step"], []).extend(line["clips"])
    return steps


def lines(path: Path) -> list[dict]:
    """What was written so far, but for a line that was cut off."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
