"""What can go wrong, said in three parts, with the exit code that tells scripts which kind it was.

Raised anywhere; caught once, at the edge, by `trimtab.cli.main`. Touches nothing.
"""

from __future__ import annotations


class TrimtabError(Exception):
    """Say what failed (with its path or name), why, and what to do next."""

    exit_code: int = 1
    is_in_result: bool = False  # the result on standard output tells it already

    def __init__(self, what: str, *, why: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  next: {self.remedy}"


class UsageError(TrimtabError):
    """The catalogue, a configuration or an argument is wrong."""

    exit_code = 2


class ToolMissingError(TrimtabError):
    """A tool or an engine that the step needs is not there."""

    exit_code = 3


class ProgramError(TrimtabError):
    """Another program, or a service that we call, failed."""

    exit_code = 4


class DriftError(TrimtabError):
    """What is there is not what the catalogue says."""

    exit_code = 5


class BudgetError(TrimtabError):
    """A plan or a measurement is over its budget."""

    exit_code = 6


class HealthError(TrimtabError):
    """What was started does not answer as it must."""

    exit_code = 7
