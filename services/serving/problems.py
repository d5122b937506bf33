"""What can go wrong, as values: a request refused, or a service that will not start. Touches nothing."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - it is an answer to a person, not an error of ours
    """Answer a request with a 4xx or 503: a status, a stable code for programs, and two sentences for people."""

    def __init__(
        self, status: int, code: str, message: str, *, hint: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = headers or {}

    def body(self) -> dict[str, dict[str, str]]:
        """Return the JSON that every refused request gets."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class StartError(Exception):
    """Refuse to start: say what is wrong, why, and what to do next."""

    exit_code = 2

    def __init__(self, what: str, *, why: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  next: {self.remedy}"


class WarmUpError(StartError):
    """A model loaded but did not answer, or did not load."""

    exit_code = 7
