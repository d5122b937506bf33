"""The Pulumi CLI's command lines: pure builders. No secret is among the words."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_DIRECTORY: Final = Path(__file__).resolve().parent


def pulumi_select_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that makes a stack's place in the backend, where there is none yet."""
    return (
        program, "stack", "select", stack, "--create", "--secrets-provider", "passphrase",
        "--non-interactive", "--cwd", str(_DIRECTORY),
    )  # fmt: skip


def pulumi_preview_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that shows, as JSON, what `up` would change."""
    return (program, "preview", "--stack", stack, "--json", "--non-interactive", "--cwd", str(_DIRECTORY))


def pulumi_up_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that applies the program."""
    return _pulumi_apply_argv(program, "up", stack)


def pulumi_destroy_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that takes away what a stack holds."""
    return _pulumi_apply_argv(program, "destroy", stack)


def _pulumi_apply_argv(program: str, verb: str, stack: str) -> tuple[str, ...]:
    return (
        program, verb, "--stack", stack, "--yes", "--skip-preview", "--color", "never",
        "--non-interactive", "--cwd", str(_DIRECTORY),
    )  # fmt: skip


def pulumi_outputs_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that shows, as JSON, what a stack exports."""
    return (program, "stack", "output", "--json", "--stack", stack, "--non-interactive", "--cwd", str(_DIRECTORY))


def pulumi_export_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that shows, as JSON, what a stack holds."""
    return (program, "stack", "export", "--stack", stack, "--non-interactive", "--cwd", str(_DIRECTORY))
