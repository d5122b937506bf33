"""What answers at once must not load what is slow. Untimed: the modules that a whole process loaded are looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLOW = frozenset(
    {"boto3", "botocore", "docker", "jinja2", "matplotlib", "modal", "moto", "numpy", "PIL", "pulumi", "torch"}
)

# The CLI ends by SystemExit; what it loaded is told afterwards, on the stream that no result goes to.
_PROGRAM = """
import sys
from trimtab.cli.main import main
try:
    main(sys.argv[1:])
finally:
    sys.stderr.write("\\n" + " ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(words: list[str], state: Path) -> set[str]:
    """Return the top-level modules of a whole process that ran the command, without a ledger, and answered."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words],
        cwd=ROOT,
        env={**os.environ, "TRIMTAB_STATE": str(state)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout
    return set(process.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words", [["--help"], ["plan", "--help"], ["plan"], ["plan", "--json"], ["schema", "--help"]], ids=" ".join
)
def test_a_command_that_answers_at_once_loads_nothing_slow(words: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(words, tmp_path)
    assert "click" in loaded
    assert loaded & SLOW == set()


def test_help_loads_no_validation_and_no_yaml_either(tmp_path: Path) -> None:
    assert loaded_by(["--help"], tmp_path) & {"pydantic", "yaml", "rich", "psutil", "requests"} == set()
