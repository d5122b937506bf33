# ruff: noqa: INP001 - a script that is run by its path, not a package
"""All pairs over a threshold: ours and imagededup's, each in a process of its own, on the same vectors.

    python benchmarks/dedup/compare.py --count 50000 --rival VENV/bin/python

Prints one JSON document. Without --rival only ours runs. imagededup holds two matrices of count x count half floats.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from vectors import vectors

HERE = Path(__file__).resolve().parent


def measured(python: str, script: str, *words: str) -> dict[str, Any]:
    """Run a script to its end and return what it printed last."""
    argv = (python, "-W", "ignore", str(HERE / script), *words)
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Time all pairs over a threshold.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--threshold", default="0.99")
    parser.add_argument("--rival", metavar="PYTHON", help="of an environment that has imagededup")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("even", "falling"):
            path = Path(folder) / f"{kind}.npy"
            np.save(path, vectors(options.count, options.dimensions, even=kind == "even"))
            for _ in range(options.runs):
                ours = measured(sys.executable, "ours.py", str(path), options.threshold, "1")
                rows.append({"directions": kind, "who": "trimtab", **ours})
                if options.rival:
                    theirs = measured(options.rival, "rival.py", str(path), options.threshold, "0")
                    rows.append({"directions": kind, "who": "imagededup", **theirs})
    asked = {"count": options.count, "dimensions": options.dimensions, "threshold": options.threshold}
    sys.stdout.write(f"{json.dumps({**asked, 'rows': rows}, indent=1)}\n")


if __name__ == "__main__":
    main()
