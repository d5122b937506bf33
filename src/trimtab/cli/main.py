"""The edge: find the command, run it, and turn every failure into its message and exit code.

Commands are imported when they are called, so that `--help` answers before pydantic, boto3 or docker are loaded.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Final

import click

from trimtab.console import Console
from trimtab.errors import TrimtabError

_COMMANDS: Final = {
    "local": ("trimtab.cli.local:local", "The whole way on this machine, no account: provision, build, serve, train."),
    "plan": ("trimtab.cli.plan:plan", "What the whole way takes in disk, memory, time and money, and whether it fits."),
    "infra": ("trimtab.cli.infra:infra", "The bucket and its roles: preview, up, outputs, destroy."),
    "images": ("trimtab.cli.images:images", "Build the services' images within their budgets."),
    "train": ("trimtab.cli.train:train", "Run one training job; it goes on where an earlier run was cut off."),
    "runs": ("trimtab.cli.runs:runs", "The registry of training runs."),
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
        status = trimtab.main(args=words, prog_name="trimtab", standalone_mode=False)
        code = status if isinstance(status, int) else 0
    except TrimtabError as error:
        Console(as_json="--json" in words).failure(error)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted; what was finished stays, and the same command goes on from there", err=True)
        code = 130
    except BrokenPipeError:  # the reader of our output left, as `head` does
        sys.stderr.close()
        code = 0
    sys.exit(code)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
