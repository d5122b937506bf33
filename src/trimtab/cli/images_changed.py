"""`trimtab images changed`: which images the registry does not hold yet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.project import find_project


@click.command()
@click.option("--all", "everything", is_flag=True, help="Count every image as changed, and ask nobody.")
@click.option("--serving", is_flag=True, help="Count a service as well that serves something else on this machine.")
@click.option("--matrix", is_flag=True, help="Print what changed as one line of JSON, for a workflow's matrix.")
@CATALOGUE
@JSON
def changed(*, everything: bool, serving: bool, matrix: bool, catalogue: Path | None, as_json: bool) -> None:
    """Show which images changed: those whose inputs are not what an image in the registry was made from.

    \b
    Examples:
      trimtab images changed            each image, and why it is to be built
      trimtab images changed --matrix   [{"service": "NAME", "variant": "cpu", "verb": "deploy"}]
    """
    from trimtab.images.changed import image_states, serving_inputs
    from trimtab.images.engine import connect
    from trimtab.images.registry import remote_digest

    project = find_project(catalogue)
    states = image_states(
        project.root,
        project.catalogue,
        digest_of=lambda reference: remote_digest(connect(), reference),
        serving=(lambda name: serving_inputs(connect(), project.catalogue.project, name)) if serving else None,
        everything=everything,
    )
    console = Console(as_json=as_json)
    if matrix:
        for state in states:
            console.say(f"{state.service} ({state.variant}): {state.why or 'unchanged'}")
        console.line(
            json.dumps([{"service": s.service, "variant": s.variant, "verb": s.verb} for s in states if s.changed])
        )
        return
    document = {"images": [{**asdict(state), "changed": state.changed} for state in states]}
    rows = [(s.service, s.variant, s.verb if s.changed else "-", s.why, s.reference) for s in states]
    console.result(
        document, text=lambda: console.table("Images", ("service", "variant", "", "why", "in the registry"), rows)
    )
