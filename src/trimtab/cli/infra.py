"""`trimtab infra`: the Pulumi program, on AWS through the Pulumi CLI, or on the embedded AWS."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON, STACK
from trimtab.process import Command, ProcessRunner
from trimtab.project import Project, find_project


@click.group()
def infra() -> None:
    """Preview, apply, show, compare, adopt and destroy the bucket and its roles.

    \b
    Examples:
      trimtab infra preview --embedded   what `up` would change here, with no account
      trimtab infra up --embedded        apply it to the embedded AWS
      trimtab infra up --stack prod      apply it to AWS, through the Pulumi CLI
      trimtab infra outputs --json       the bucket and the role of each job
      trimtab infra drift --stack prod   what was changed behind its back; 5 when anything was
      trimtab infra explain              who may do what, where
    """


_JSON = click.option("--json", is_flag=True, help="Print the result as one JSON document.")


def _verb(name: str, help_text: str, *extra: Callable[..., Any]) -> None:
    def run(*, catalogue: Path | None, stack: str, embedded: bool, **options: Any) -> None:
        project = find_project(catalogue)
        module = "infra.embedded" if embedded else "infra.pulumi_cli"
        arguments = [name, "--stack", stack, "--catalogue", str(project.catalogue_path.absolute())]
        if embedded:
            arguments += ["--state-dir", str(project.state / "aws")]
        for flag in ("json", "env", "with_data", "dry_run"):
            arguments += [f"--{flag.replace('_', '-')}"] * options.get(flag, False)
        for option in ("confirm", "resource"):
            arguments += [word for value in options.get(option, ()) for word in (f"--{option}", value)]
        if options.get("with_data") and not (options["confirm"] or options["dry_run"]) and sys.stdin.isatty():
            _run(project, module, [*arguments, "--dry-run"])
            typed = click.prompt("All of this goes, and the data for good. The bucket's name, to go on", err=True)
            arguments += ["--confirm", typed]
        _run(project, module, arguments)

    embedded_option = click.option("--embedded", is_flag=True, help="On the embedded AWS of this machine: no account.")
    for option in (*extra, _JSON, CATALOGUE, STACK, embedded_option):
        run = option(run)
    infra.command(name, help=help_text)(run)


def _run(project: Project, module: str, arguments: Sequence[str]) -> None:
    hint = "the lines above say what is missing"
    command = Command(argv=project.python_argv(module, *arguments), cwd=project.root, hint=hint, house=True)
    done = ProcessRunner().run(command, on_line=lambda line: click.echo(line, err=True))
    sys.stdout.write(done.stdout)


_WITH_DATA = click.option("--with-data", is_flag=True, help="Also delete what the bucket holds, every version.")
_CONFIRM = click.option("--confirm", multiple=True, metavar="BUCKET", help="With --with-data: the bucket's name.")
_ENV = click.option("--env", is_flag=True, help="KEY=VALUE lines, for a shell or $GITHUB_ENV.")
_RESOURCE = click.option(
    "--resource", multiple=True, metavar="NAME", help="What to adopt, as declared; default: data-bucket."
)
_verb("preview", "Show what `up` would change; nothing is written.")
_verb("up", "Show what changes, and apply the program.")
_verb("outputs", "Show the bucket's name and the roles.", _ENV)
_verb("drift", "Compare what is there with what is declared; exit 5, and say what, where they differ.")
_verb("import", "Adopt what stood before; show what `up` would change of it, and change nothing.", _RESOURCE)
_verb("destroy", "Take away what was made; a bucket that holds data is refused.", DRY_RUN, _CONFIRM, _WITH_DATA)


@infra.command()
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it into this file.")
@JSON
@CATALOGUE
def explain(*, catalogue: Path | None, as_json: bool, svg: Path | None) -> None:
    """Show who may do what, where: every role, prefix and action, from the policies themselves."""
    project = find_project(catalogue)
    drawn = [] if svg is None else ["--svg", str(svg.absolute())]
    arguments = ["--catalogue", str(project.catalogue_path.absolute()), *drawn, *["--json"] * as_json]
    _run(project, "infra.explain", arguments)
