# ruff: noqa: INP001 - a script that is run by its path, not a package
"""What the job finds among 1,000 real pictures with planted copies, for each kind of copy, at five thresholds.

python benchmarks/dedup/recall.py      needs scikit-image and scikit-learn, for their photographs
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.support.planted_pictures import quality, thousand_planted  # noqa: E402 - after the path
from training.dedup.__main__ import main as dedup  # noqa: E402 - as above

KINDS = ("exact", "resized", "recompressed", "flipped", "cropped", "all")


def main() -> None:
    """Lay the pictures out, run the job for each threshold, and print a table."""
    planted = thousand_planted()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for path, content in planted.files.items():
            (folder / "data" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / path).write_bytes(content)
        config = yaml.safe_load((ROOT / "configs/local/dedup.yaml").read_text())
        sys.stdout.write(f"| cosine from | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}\n")
        for threshold in config["matching"]["sweep"]:
            config["matching"]["threshold"] = threshold
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            words = {"config": folder / "config.yaml", "data": folder / "data", "results": folder / "results"}
            name = f"at-{threshold}"
            dedup([word for key, value in words.items() for word in (f"--{key}", str(value))] + ["--run-id", name])
            (path,) = (folder / "results").glob(f"checkpoints/dedup/*/{name}/duplicates.json")
            table = quality(json.loads(path.read_bytes()), planted)
            cells = " | ".join(f"{table[kind]['recall']:.3f}, {table[kind]['precision']:.3f}" for kind in KINDS)
            sys.stdout.write(f"| {threshold} | {cells} |\n")
        sys.stdout.write(f"{ {kind: table[kind]['planted'] for kind in KINDS} }\n")


if __name__ == "__main__":
    main()
