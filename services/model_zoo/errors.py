"""What can go wrong while models are fetched, in three parts and with the project's exit codes. Touches nothing."""

from __future__ import annotations


class ZooError(Exception):
    """Say what failed, why, and what to do next."""

    exit_code = 1

    def __init__(self, what: str, *, why: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  next: {self.remedy}"


class ToolMissingError(ZooError):
    """npm is not there."""

    exit_code = 3


class ProgramError(ZooError):
    """npm ran and failed."""

    exit_code = 4


class DriftError(ZooError):
    """What was fetched or made is not what the manifest pins."""

    exit_code = 5


class ConversionError(ZooError):
    """The graph holds what the converter does not know; a manifest names a model that we cannot make."""

    exit_code = 2


class DisagreementError(ZooError):
    """Two manifests contradict each other."""

    exit_code = 2
