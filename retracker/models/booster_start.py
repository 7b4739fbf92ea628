"""How a FeatureBooster starts to be trained: by handing descriptors through as they are."""

import torch
from torch import nn

from retracker.models.descriptor import FeatureBooster


@torch.no_grad()
def hand_through(booster: FeatureBooster) -> None:
    """Let an untrained booster start where the descriptors are that it is to make better.

    What each part adds starts at zero. Where as many numbers come out as go in, these are the descriptors,
    normalised over their channels: bits keep their signs. Random projections, as of any new network, are
    worse than what went in until long after.
    """
    added = [booster.denc.encoder[-1]]
    if booster.kenc is not None:
        added.append(booster.kenc.encoder[-1])
    if booster.attn_proj is not None:
        for layer in booster.attn_proj.layers:
            added += [layer["attn"].proj, layer["ffn"].mlp[-1]]
    for linear in added:
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    if booster.final_proj.in_features == booster.final_proj.out_features:
        nn.init.eye_(booster.final_proj.weight)
        nn.init.zeros_(booster.final_proj.bias)
