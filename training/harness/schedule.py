"""How the learning rate goes over a training: a function of the step alone, so resuming changes nothing. Pure."""

from __future__ import annotations

import math


def warmed_cosine(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Return the rate of a step, counted from 0: up in a line while warming, then down in a cosine to 0."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))))
