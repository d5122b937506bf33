"""The edge: find the command, run it, and turn every failure into its message and exit code.

Commands are imported when they are called, so that `--help` answers before pydantic, boto3 or docker are loaded.
"""

from __future__ import annotations

import errno
import importlib
import os
import select
import signal
import sys
from typing import Final

import click

from trimtab.console import Console
from trimtab.errors import BudgetError, TrimtabError

_COMMANDS: Final = {
    "local": ("trimtab.cli.local:local", "The whole way on this machine, no account: provision, build, serve, train."),
    "plan": ("trimtab.cli.plan:plan", "What the whole way takes in disk, memory, time and money, and whether it fits."),
    "infra": ("trimtab.cli.infra:infra", "Bucket and roles: preview, up, drift, import, outputs, explain, destroy."),
    "images": ("trimtab.cli.images:images", "The services' images: plan, build within budgets, deploy, roll back."),
    "disk": ("trimtab.cli.disk:disk", "What takes the disk, what grows, and freeing just what is needed."),
    "data": ("trimtab.cli.data:data", "Data sets in the bucket or on a Volume: push, list, verify, pull."),
    "train": ("trimtab.cli.train:train", "Run one training job; it goes on where an earlier run was cut off."),
    "cost": ("trimtab.cli.cost:cost", "What a run on Modal will cost, before it starts."),
    "modal": ("trimtab.cli.modal:modal", "The embedded Modal: `modal run`, unchanged, with no account."),
    "runs": ("trimtab.cli.runs:runs", "Training runs, from any machine: list, show, compare, follow, stop, fetch."),
    "checkpoints": ("trimtab.cli.checkpoints:checkpoints", "What a run has saved: list, pin, prune."),
    "status": ("trimtab.cli.status:status", "What runs here, and where it answers."),
    "down": ("trimtab.cli.status:down", "Stop what was started here; data, images and results stay."),
    "report": ("trimtab.cli.report:report", "Where the page of the last run lies."),
    "doctor": ("trimtab.cli.doctor:doctor", "What is missing on this machine, and the command that mends it."),
    "schema": ("trimtab.cli.schema:schema", "Write the JSON Schema of trimtab.yaml, or check that it is current."),
}  # fmt: skip

FLAGS: Final = {
    "--local": ("local",),
    "--provision": ("infra", "up"),
    "--build": ("images", "build"),
    "--deploy-sequential": ("images", "deploy", "--jobs", "1"),
    "--deploy-seq": ("images", "deploy", "--jobs", "1"),
    "--vm": ("images", "deploy", "--host"),
    "--rollback": ("images", "rollback"),
    "--cleanup-disk": ("disk", "free"),
    "--train": ("train",),
    "--status": ("status",),
    "--down": ("down",),
}
"""What deploy.sh's flags mean: `./deploy.sh --local` is `trimtab local`."""

_EXIT_CODES: Final = """\b
Exit codes: 0 done, 1 a bug, 2 catalogue or argument wrong, 3 a tool or engine is missing,
4 another program failed, 5 drift, 6 a budget is exceeded, 7 a health check failed."""

_EXAMPLES: Final = """\b
Examples:
  trimtab local                   the whole way, offline; a second run repeats no finished work
  trimtab plan                    does it fit? before anything is written
  trimtab images build --dry-run  what a build would do
  trimtab status --json           for scripts"""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            raise click.UsageError(
                f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in _COMMANDS.items()])
        with formatter.section("deploy.sh passes its flags on"):
            formatter.write_dl([(flag, "trimtab " + " ".join(words)) for flag, words in FLAGS.items()])


@click.command(
    cls=_LazyGroup,
    name="trimtab",
    help=f"Trimtab: know it fits before you ship it.\n\n{_EXAMPLES}",
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    no_args_is_help=True,
)
@click.version_option(package_name="trimtab")
def trimtab() -> None:
    """Hold the commands."""


def command_line(arguments: list[str]) -> list[str]:
    """Return the arguments with the first of deploy.sh's flags replaced by the command that it means."""
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument in FLAGS:
            return [*FLAGS[argument], *arguments[:index], *arguments[index + 1 :]]
    return arguments


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the house's exit code."""
    words = command_line(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = _run(words)
        sys.stdout.flush()  # what cannot be written must be known before the exit code is
    except TrimtabError as error:
        Console(as_json="--json" in words).failure(error)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted; what was finished stays, and the same command goes on from there", err=True)
        code = 130
    except BrokenPipeError:
        if not _reader_left():
            raise
        _silence_stdout()
        code = 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = BudgetError(
            "the disk is full",
            why=f"{error.filename or 'an output'}: {error.strerror}",
            remedy="free some space and run the same command again",
        )
        Console().failure(full)
        _silence_stdout()
        code = full.exit_code
    sys.exit(code)


def _run(words: list[str]) -> int:
    """Run the command. Not by click's own main: that ends with 1, a bug, when the reader of our output leaves."""
    try:
        with trimtab.make_context("trimtab", words) as context:
            trimtab.invoke(context)
    except click.exceptions.Exit as ended:  # --help and --version
        return ended.exit_code
    return 0


def _reader_left() -> bool:
    """Tell whether the reader of one of our outputs left, as `head` does; a broken pipe may be another one."""
    outputs = select.poll()
    for stream in (sys.stdout, sys.stderr):
        outputs.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in outputs.poll(0))


def _silence_stdout() -> None:
    """Let what is still to be flushed go nowhere: Python would end with an exit code of its own otherwise."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
