"""Serve as models.toml says (`mode`), by the program that behaves or misbehaves: tests/support/release/server.py."""

import os
import runpy
import tomllib
from pathlib import Path

os.environ["MODE"] = tomllib.loads(Path("/app/models.toml").read_text())["mode"]
runpy.run_path(str(Path(__file__).parent / "server.py"), run_name="__main__")
