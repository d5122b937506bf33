"""What every test may use. Hypothesis has no deadline: the machines that run this share their cores."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    """Let pulumi_aws be imported: its s3 module warns, once for each old class that it still carries (some 20).

    And let an interrupt be one: a suite that is started in the background has it ignored, and so has all it starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "filterwarnings",
        r"ignore:(aws\.)?s3\S+ has been deprecated in favor of :DeprecationWarning:pulumi_aws\.s3",
    )


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of this repository."""
    return Path(__file__).resolve().parent.parent
