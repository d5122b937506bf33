"""`python -m training.dedup`: see training.harness.command."""

from __future__ import annotations

import sys

from training.harness.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command("dedup", arguments, learns_from="pictures anywhere below DIR, to find copies among them")


if __name__ == "__main__":
    sys.exit(main())
