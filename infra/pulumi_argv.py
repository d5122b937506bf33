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


def pulumi_refresh_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that shows, as JSON, what is no longer as the state has it; it writes nothing."""
    return (
        program, "refresh", "--preview-only", "--stack", stack, "--json",
        "--non-interactive", "--cwd", str(_DIRECTORY),
    )  # fmt: skip


def pulumi_up_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that applies the program, to what is there and not to what the state remembers."""
    return (*_pulumi_apply_argv(program, "up", stack), "--refresh")


def pulumi_provider_argv(program: str, stack: str) -> tuple[str, ...]:
    """Return the command that puts the program's provider, and nothing else, into a state that has none yet."""
    return (*_pulumi_apply_argv(program, "up", stack), "--target", "**::pulumi:providers:aws::aws")


def pulumi_import_argv(program: str, stack: str, file: str) -> tuple[str, ...]:
    """Return the command that takes what a file lists into the state, protected; it changes nothing on AWS."""
    return (
        program, "import", "--file", file, "--stack", stack, "--yes", "--skip-preview", "--protect=true",
        "--generate-code=false", "--color", "never", "--non-interactive", "--cwd", str(_DIRECTORY),
    )  # fmt: skip


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
