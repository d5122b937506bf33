"""`python -m training.eeg`: see training.harness.command."""

from __future__ import annotations

import sys

from training.harness.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command("eeg", arguments, learns_from="a TUSZ-like tree DIR/edf/{train,dev,eval}/PATIENT/...")


if __name__ == "__main__":
    sys.exit(main())
