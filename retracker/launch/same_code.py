# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""Nodes that come and go must train the same program: compared at every start, once all are there."""

import pytorch_lightning as pl
from torch import distributed

from retracker.launch.group import Facts, differences, facts


class SameCode(pl.Callback):
    """Let no run begin whose nodes have different revisions or packages."""

    def on_fit_start(self, trainer, pl_module) -> None:
        if trainer.world_size > 1:
            refuse_differences(facts())


def refuse_differences(own: Facts) -> None:
    """Raise ValueError, on all processes of the group, if some host's facts are not those of the first."""
    told = [own] * distributed.get_world_size()
    distributed.all_gather_object(told, own)
    found = differences(told)
    if found:
        raise ValueError("; ".join(found))
