"""`python -m infra.embedded VERB`: applies the Pulumi program to the embedded AWS, without the Pulumi engine.

`up` starts the embedded AWS when it does not run, and makes, changes and takes away what the program says; run again,
it changes nothing. `preview` shows what `up` would do, and `outputs` what the program exports; neither writes.
`drift` ends with 5 when something is not as declared. `import` adopts what is there already, and changes nothing of it.
`destroy` takes everything away. Writes the state folder and the embedded AWS, nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra import engine
from infra.data_loss import require_confirmation
from infra.kinds import Clients, kind_of
from infra.kinds.s3 import empty, is_empty
from infra.outcome import Outcome, answer, drift_failure, parse_arguments, say_changes
from infra.stack_state import StateFile
from infra.tags import checked_out_commit
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
    verbs = {
        "preview": _preview,
        "up": _up,
        "outputs": _outputs,
        "destroy": _destroy,
        "drift": _drift,
        "import": _import,
    }
    return answer(console, lambda: verbs[arguments.verb](arguments, console))


def record_stack(catalogue: Catalogue, stack: str, *, account: str = ACCOUNT, commit: str = "") -> Graph:
    """Return what the program declares for a stack, with the ids and ARNs that an account gives: the embedded AWS's.

    What is made is tagged with `commit`.
    """
    from infra.graph import record  # here: Pulumi takes a second to import, and `outputs` does without
    from infra.program import declare

    predict = _predict(stack, account, catalogue.aws.region)
    program = functools.partial(declare, catalogue, stack, commit=commit)
    return record(program, project=catalogue.project, stack=stack, predict=predict)


def _predict(stack: str, account: str, region: str) -> Any:
    def predict(type_: str, name: str, inputs: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        if type_.startswith("pulumi:providers:"):
            return name, {}
        # As Pulumi names what has no name of its own, but the same each time, so that a killed run finds its own.
        suffix = hashlib.sha256(f"{stack}/{type_}/{name}".encode()).hexdigest()[:_SUFFIX_LETTERS]
        placed = {"region": region, **inputs}
        return kind_of(type_).identify(account, inputs.get("name", f"{name}-{suffix}"), placed)

    return predict


def clients_of(running: EmbeddedAws, *, region: str) -> Clients:
    """Return the operator's clients of every service that a stack uses."""
    return Clients(
        s3=running.operator_client("s3", region=region),
        iam=running.operator_client("iam"),
        other=functools.cache(lambda service: running.operator_client(service, region=region)),
    )


def _clients(running: EmbeddedAws, catalogue: Catalogue) -> Clients:
    return clients_of(running, region=catalogue.aws.region)


def _load(path: Path) -> tuple[Catalogue, tuple[str, ...]]:
    """Return the catalogue for the embedded AWS, which has no provider that stood before, and a note on each."""
    catalogue = load_catalogue(path)
    sections = {name: getattr(catalogue, name) for name in ("modal", "github")}
    borrowed = {name: section for name, section in sections.items() if section and section.provider_arn}
    own = {name: section.model_copy(update={"provider_arn": None}) for name, section in borrowed.items()}
    notes = tuple(f"{name}.provider_arn: made here, as the embedded AWS has no other's" for name in borrowed)
    return catalogue.model_copy(update=own), notes


def _preview(arguments: argparse.Namespace, _console: Console) -> Outcome:
    catalogue, said = _load(arguments.catalogue)
    graph = record_stack(catalogue, arguments.stack, commit=checked_out_commit())
    resources, dropped = engine.declared(graph)
    notes = (*said, *dropped)
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
    catalogue, said = _load(arguments.catalogue)
    graph = record_stack(catalogue, arguments.stack, commit=checked_out_commit())
    resources, dropped = engine.declared(graph)
    notes = (*said, *dropped)
    file = StateFile(arguments.state_dir, arguments.stack)
    with file.locked():
        running = aws.ensure_running(arguments.state_dir)
        clients = _clients(running, catalogue)
        state = file.load(running.generation)
        if file.path.exists() and not state.held:
            console.say("the embedded AWS was started anew and holds nothing: everything is made again")
        changes = engine.plan_changes(resources, state, clients)
        engine.refuse(changes, state, clients)
        say_changes([change.as_document() for change in changes], console.say)
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
        as_environment=arguments.env,
    )


def _drift(arguments: argparse.Namespace, console: Console) -> Outcome:
    _outputs(arguments, console)  # a stack that was never brought up has not drifted
    outcome = _preview(arguments, console)
    up = f"trimtab infra up --embedded --stack {arguments.stack}"
    return dataclasses.replace(outcome, failure=drift_failure(arguments.stack, outcome.changes or (), up=up))


def _import(arguments: argparse.Namespace, console: Console) -> Outcome:
    catalogue, _ = _load(arguments.catalogue)
    resources, _ = engine.declared(record_stack(catalogue, arguments.stack, commit=checked_out_commit()))
    file = StateFile(arguments.state_dir, arguments.stack)
    with file.locked():
        running = aws.status(arguments.state_dir)
        if running is None:
            raise ToolMissingError(
                "there is nothing to adopt", why="the embedded AWS does not run", remedy="trimtab infra up --embedded"
            )
        names = arguments.resource or ["data-bucket"]
        file.save(engine.adopt(names, resources, file.load(running.generation), _clients(running, catalogue)))
    console.say(f"stack {arguments.stack} holds {', '.join(names)}; nothing of it was changed. `up` does what follows:")
    return _preview(arguments, console)


def _destroy(arguments: argparse.Namespace, console: Console) -> Outcome:
    catalogue = load_catalogue(arguments.catalogue)
    file = StateFile(arguments.state_dir, arguments.stack)
    changes: tuple[engine.Change, ...] = ()
    running = aws.status(arguments.state_dir)
    with file.locked():
        if running is not None:
            clients = _clients(running, catalogue)
            state = file.load(running.generation)
            keys = [held.key for held in state.held]
            changes = (*engine.additions(keys, (), clients), *engine.removals(state.held))
            engine.refuse(changes, state, clients, with_data=arguments.with_data)
            say_changes([change.as_document() for change in changes], console.say)
            full = [c.id for c in changes if c.type == engine.BUCKET_TYPE and not is_empty(clients.s3, c.id)]
            if not arguments.dry_run:
                require_confirmation(full, arguments.confirm)
                for bucket in full:
                    console.say(f"emptied {bucket}: {empty(clients.s3, bucket)} versions")
                engine.apply(changes, state, clients, save=file.save, say=console.say)
        if not arguments.dry_run:
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
