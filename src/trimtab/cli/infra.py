"""`trimtab infra`: the Pulumi program, on AWS through the Pulumi CLI, or on the embedded AWS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trimtab.cli.options import CATALOGUE, JSON, STACK
from trimtab.process import Command, ProcessRunner
from trimtab.project import find_project


@click.group()
def infra() -> None:
    """Preview, apply, show and destroy the bucket and its roles.

    \b
    Examples:
      trimtab infra preview --embedded   what `up` would change here, with no account
      trimtab infra up --embedded        apply it to the embedded AWS
      trimtab infra up --stack prod      apply it to AWS, through the Pulumi CLI
      trimtab infra outputs --json       the bucket and the role of each job
    """


def _verb(name: str, help_text: str, *extra: Callable[..., Any]) -> None:
    def run(*, catalogue: Path | None, as_json: bool, stack: str, embedded: bool, with_data: bool = False) -> None:
        project = find_project(catalogue)
        module = "infra.embedded" if embedded else "infra.pulumi_cli"
        arguments = [name, "--stack", stack, "--catalogue", str(project.catalogue_path.absolute())]
        if embedded:
            arguments += ["--state-dir", str(project.state / "aws")]
        arguments += ["--with-data"] * with_data + ["--json"] * as_json
        hint = "the lines above say what is missing"
        command = Command(argv=project.python_argv(module, *arguments), cwd=project.root, hint=hint, house=True)
        done = ProcessRunner().run(command, on_line=lambda line: click.echo(line, err=True))
        sys.stdout.write(done.stdout)

    embedded_option = click.option("--embedded", is_flag=True, help="On the embedded AWS of this machine: no account.")
    for option in (*extra, JSON, CATALOGUE, STACK, embedded_option):
        run = option(run)
    infra.command(name, help=help_text)(run)


_WITH_DATA = click.option("--with-data", is_flag=True, help="Also delete what the bucket holds, every version.")
_verb("preview", "Show what `up` would change; nothing is written.")
_verb("up", "Apply the program.")
_verb("outputs", "Show the bucket's name and the roles.")
_verb("destroy", "Take away what was made; a bucket that holds data is refused.", _WITH_DATA)
