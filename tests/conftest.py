"""What every test may use. Hypothesis has no deadline: the machines that run this share their cores."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root of this repository."""
    return Path(__file__).resolve().parent.parent
