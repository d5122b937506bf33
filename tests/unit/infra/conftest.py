"""The stacks as the program declares them: recorded once, then plain data for every test."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from infra.embedded import record_stack
from infra.graph import Graph
from tests.support.catalogues import catalogue
from trimtab.catalogue import Catalogue, load_catalogue


@pytest.fixture(scope="session")
def stack_of() -> Callable[[str], Graph]:
    """Return what records a stack of the harbour."""
    return cache(lambda stack: record_stack(catalogue(), stack))


@pytest.fixture(scope="session")
def our_catalogue(root: Path) -> Catalogue:
    """Return the repository's own catalogue."""
    return load_catalogue(root / "trimtab.yaml")
