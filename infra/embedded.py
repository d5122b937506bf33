"""`python -m infra.embedded VERB`: applies the Pulumi program to the embedded AWS, without the Pulumi engine.

`up` starts the embedded AWS when it does not run, and makes, changes and takes away what the program says; run again,
it changes nothing. `preview` shows what `up` would do, and `outputs` what the program exports; neither writes.
`destroy` takes everything away. Writes the state folder and the embedded AWS, nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from infra import engine
from infra.kinds import Clients, kind_of
from infra.kinds.s3 import empty
from infra.outcome import Outcome, answer, parse_arguments
from infra.stack_state import StateFile
from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.console import Console
from trimtab.emulation import aws
from trimtab.emulation.aws import EmbeddedAws
from trimtab.emulation.clients import ACCOUNT
from trimtab.errors import ToolMissingError

if TYPE_CHECKING:
    from infra.graph import Graph

_SUFFIX_LETTERS: Final = 7


def main(argv: Sequence[str]) -> int:
    """Run a verb; return the exit code of the house."""
    arguments = parse_arguments(argv, program="python -m infra.embedded", embedded=True)
    console = Console(as_json=arguments.as_json)
    verbs = {"preview": _preview, "up": _up, "outputs": _outputs, "destroy": _destroy}
    return answer(console, lambda: verbs[arguments.verb](arguments, console))


def record_stack(catalogue: Catalogue, stack: str) -> Graph:
    """Return what the program declares for a stack, with the ids and ARNs that the embedded AWS will give."""
    from infra.graph import record  # here: Pulumi takes a second to import, and `outputs` does without
    from infra.program import declare

    return record(lambda: declare(catalogue, stack), project=catalogue.project, stack=stack, predict=_predict(stack))


def _predict(stack: str) -> Any:
    def predict(type_: str, name: str, inputs: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        if type_.startswith("pulumi:providers:"):
            return name, {}
        # As Pulumi names what has no name of its own, but the same each time, so that a killed run finds its own.
        suffix = hashlib.sha256(f"{stack}/{type_}/{name}".encode()).hexdigest()[:_SUFFIX_LETTERS]
        return kind_of(type_).identify(ACCOUNT, inputs.get("name", f"{name}-{suffix}"), inputs)

    return predict


def _clients(running: EmbeddedAws, catalogue: Catalogue) -> Clients:
    return Clients(s3=running.operator_client("s3", region=catalogue.aws.region), iam=running.operator_client("iam"))


def _preview(arguments: argparse.Namespace, _console: Console) -> Outcome:
    catalogue = load_catalogue(arguments.catalogue)
    graph = record_stack(catalogue, arguments.stack)
    resources, notes = engine.declared(graph)
    running = aws.status(arguments.state_dir)
    state = StateFile(arguments.state_dir, arguments.stack).load(running.generation if running else "")
    clients = _clients(running, catalogue) if running else None
    changes = engine.plan_changes(resources, state, clients)
    return Outcome(
        stack=arguments.stack,
        engine="embedded",
        endpoint_url=running.endpoint_url if running else None,
        changes=[change.as_document() for change in changes],
        notes=notes,
    )


def _up(arguments: argparse.Namespace, console: Console) -> Outcome:
    catalogue = load_catalogue(arguments.catalogue)
    graph = record_stack(catalogue, arguments.stack)
    resources, notes = engine.declared(graph)
    file = StateFile(arguments.state_dir, arguments.stack)
    with file.locked():
        running = aws.ensure_running(arguments.state_dir)
        clients = _clients(running, catalogue)
        state = file.load(running.generation)
        if file.path.exists() and not state.held:
            console.say("the embedded AWS was started anew and holds nothing: everything is made again")
        changes = engine.plan_changes(resources, state, clients)
        engine.refuse(changes, state, clients)
        state = engine.apply(changes, state, clients, save=file.save, say=console.say)
        settled = tuple(item.held(settled=True) for item in resources)
        file.save(dataclasses.replace(state, held=settled, exports=graph.exports, notes=notes))
    if not changes:
        console.say(f"stack {arguments.stack} is as it is declared: nothing was changed")
    return Outcome(
        stack=arguments.stack,
        engine="embedded",
        endpoint_url=running.endpoint_url,
        changes=[change.as_document() for change in changes],
        outputs=graph.exports,
        notes=notes,
    )


def _outputs(arguments: argparse.Namespace, _console: Console) -> Outcome:
    running = aws.status(arguments.state_dir)
    state = StateFile(arguments.state_dir, arguments.stack).load(running.generation) if running else None
    if running is None or state is None or state.exports is None:
        raise ToolMissingError(
            f"stack {arguments.stack} has no outputs",
            why="the embedded AWS does not run" if running is None else "no `up` has ended on the one that runs",
            remedy=f"trimtab infra up --embedded --stack {arguments.stack}",
        )
    return Outcome(
        stack=arguments.stack,
        engine="embedded",
        endpoint_url=running.endpoint_url,
        outputs=state.exports,
        notes=state.notes,
    )


def _destroy(arguments: argparse.Namespace, console: Console) -> Outcome:
    catalogue = load_catalogue(arguments.catalogue)
    file = StateFile(arguments.state_dir, arguments.stack)
    changes: tuple[engine.Change, ...] = ()
    running = aws.status(arguments.state_dir)
    with file.locked():
        if running is not None:
            clients = _clients(running, catalogue)
            state = file.load(running.generation)
            changes = engine.removals(state.held)
            engine.refuse(changes, state, clients, with_data=arguments.with_data)
            for change in changes:
                if change.type == engine.BUCKET_TYPE and change.action == "delete" and arguments.with_data:
                    console.say(f"emptied {change.id}: {empty(clients.s3, change.id)} versions")
            engine.apply(changes, state, clients, save=file.save, say=console.say)
        file.remove()
    if not changes:
        console.say(f"stack {arguments.stack} holds nothing on the embedded AWS")
    return Outcome(
        stack=arguments.stack,
        engine="embedded",
        endpoint_url=running.endpoint_url if running else None,
        changes=[change.as_document() for change in changes],
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
