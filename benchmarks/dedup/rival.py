# ruff: noqa: INP001 - a script that is run by its path, not a package
"""All pairs by imagededup, unchanged: `rival.py VECTORS.npy THRESHOLD WORKERS` prints seconds, pairs, memory as JSON.

Runs in an environment of its own that has imagededup. Its encoder is never called: it is handed the vectors, as
`CNN.find_duplicates(encoding_map=...)` allows. Where torchvision was built for another torch, its missing operators are
declared so that it can be imported; the search uses none of them.
"""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

found = importlib.util.find_spec("torchvision")
registered = (Path(str(found and found.origin)).parent / "_meta_registrations.py").read_text()
library = torch.library.Library("torchvision", "FRAGMENT")
for name in sorted({"nms", *re.findall(r'"torchvision::(\w+)"', registered)}):
    library.define(f"{name}(Tensor x) -> Tensor")

from imagededup.methods import CNN  # noqa: E402 - after the operators
from imagededup.utils import CustomModel  # noqa: E402 - as above

if __name__ == "__main__":
    method = CNN(verbose=False, model_config=CustomModel(name="none", model=torch.nn.Identity(), transform=lambda x: x))
    encodings = dict(zip((f"{row:07d}" for row in range(10**7)), np.load(sys.argv[1]), strict=False))
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    result = method.find_duplicates(
        encoding_map=encodings, min_similarity_threshold=float(sys.argv[2]), num_sim_workers=int(sys.argv[3])
    )
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    below = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime + below.ru_utime + below.ru_stime
    json.dump(
        {
            "seconds": round(seconds, 3),
            "processor_s": round(spent, 3),
            "pairs": sum(map(len, result.values())) / 2,
            "peak_mib": round(after.ru_maxrss / 1024),
        },
        sys.stdout,
    )
