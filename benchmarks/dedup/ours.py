# ruff: noqa: INP001 - a script that is run by its path, not a package
"""All pairs by training.dedup: `ours.py VECTORS.npy THRESHOLD THREADS` prints seconds, pairs, memory as JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the job sets it, before torch is there

import numpy as np
import torch

from training.dedup.pairs import PairSearch, joined

torch.set_num_threads(int(sys.argv[3]))
vectors = torch.from_numpy(np.load(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF)
began = time.monotonic()
search = PairSearch(vectors, float(sys.argv[2]))
prepared = time.monotonic() - began
pairs = joined([search.search(step) for step in range(search.steps)])
seconds = time.monotonic() - began
after = resource.getrusage(resource.RUSAGE_SELF)
json.dump(
    {
        "seconds": round(seconds, 3),
        "of_it_preparing": round(prepared, 3),
        "processor_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3),
        "pairs": len(pairs),
        "axes": search.axes,
        "peak_mib": round(after.ru_maxrss / 1024),
    },
    sys.stdout,
)
