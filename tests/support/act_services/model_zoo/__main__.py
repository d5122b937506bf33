"""Write the one model that a manifest of the harbour's pins: its service's name."""

import argparse
import tomllib
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("verb", choices=["fetch"])
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--manifest", type=Path, required=True)
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)
for name, model in tomllib.loads(options.manifest.read_text())["models"].items():
    (options.out / model["file"]).write_bytes(name.encode())
