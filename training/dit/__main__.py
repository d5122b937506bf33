"""`python -m training.dit`: see training.harness.command."""

from __future__ import annotations

import sys

from training.harness.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command("dit", arguments, learns_from="an image folder DIR/{train,val,test}/CLASS/*.png")


if __name__ == "__main__":
    sys.exit(main())
