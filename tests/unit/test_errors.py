"""Every failure has three parts and the exit code that the design promises."""

from __future__ import annotations

import pytest

from trimtab.errors import (
    BudgetError,
    DriftError,
    HealthError,
    ProgramError,
    ToolMissingError,
    TrimtabError,
    UsageError,
)

EXIT_CODES = {
    TrimtabError: 1,
    UsageError: 2,
    ToolMissingError: 3,
    ProgramError: 4,
    DriftError: 5,
    BudgetError: 6,
    HealthError: 7,
}


@pytest.mark.parametrize(("kind", "code"), EXIT_CODES.items())
def test_each_kind_of_failure_has_its_own_exit_code(kind: type[TrimtabError], code: int) -> None:
    assert kind("x", why="y", remedy="z").exit_code == code


def test_no_kind_of_failure_is_without_an_exit_code_of_its_own() -> None:
    assert {TrimtabError, *TrimtabError.__subclasses__()} >= set(EXIT_CODES)
    house = {kind for kind in TrimtabError.__subclasses__() if kind.__module__ == "trimtab.errors"}
    assert house | {TrimtabError} == set(EXIT_CODES)


def test_a_failure_says_what_why_and_what_next() -> None:
    error = UsageError("the catalogue is missing", why="no such file", remedy="name it")
    assert str(error) == "the catalogue is missing\n  why: no such file\n  next: name it"


def test_a_failure_cannot_be_raised_without_its_three_parts() -> None:
    with pytest.raises(TypeError):
        UsageError("the catalogue is missing")  # type: ignore[call-arg]
