"""Brings an embedded AWS to what the program declares: first the changes, then, and only if none is refused, the doing.

Calls the functions of infra/kinds/ and writes the stack's state file. Before a resource is touched the file says that
it is about to be, and after that it is done; a run that is killed between the two is finished by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from infra.kinds import Clients, kind_of
from infra.kinds.s3 import is_empty
from infra.stack_state import Held, StackState
from infra.translation import translate
from trimtab.errors import ProgramError, UsageError

if TYPE_CHECKING:
    from infra.graph import Graph

BUCKET_TYPE = "aws:s3/bucket:Bucket"

Say = Callable[[str], None]
Save = Callable[[StackState], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A resource as the embedded AWS is to hold it."""

    type: str
    id: str
    name: str
    wanted: Mapping[str, Any]
    protect: bool
    retain_on_delete: bool

    def held(self, *, settled: bool) -> Held:
        """Return its line in the stack's state."""
        return Held(
            type=self.type,
            id=self.id,
            name=self.name,
            protect=self.protect,
            retain_on_delete=self.retain_on_delete,
            settled=settled,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to do. `forget`: the resource left the program but is retained, so only the state lets go of it."""

    action: Literal["create", "update", "delete", "forget"]
    type: str
    id: str
    name: str
    fields: tuple[str, ...] = ()
    declared: Declared | None = field(default=None, repr=False)

    def as_document(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "action": self.action,
            "type": self.type,
            "name": self.name,
            "id": self.id,
            "fields": list(self.fields),
        }


def declared(graph: Graph) -> tuple[tuple[Declared, ...], tuple[str, ...]]:
    """Return a graph's resources for the embedded AWS, and notes on what it cannot hold. Raises UsageError."""
    resources: list[Declared] = []
    notes: list[str] = []
    for resource in graph.resources:
        if not resource.custom or resource.type.startswith("pulumi:providers:"):
            continue  # a component only groups; the provider's part is played by the clients
        wanted, said = translate(resource)
        notes += said
        resources.append(
            Declared(
                type=resource.type,
                id=resource.id,
                name=resource.name,
                wanted=wanted,
                protect=resource.protect,
                retain_on_delete=resource.retain_on_delete,
            )
        )
    return tuple(resources), tuple(notes)


def plan_changes(resources: Sequence[Declared], state: StackState, clients: Clients | None) -> tuple[Change, ...]:
    """Return what must be done, in order. Without clients nothing runs yet, so that everything is to be made.

    Raises UsageError where something of the same name is there that this stack did not make.
    """
    known = {held.key for held in state.held}
    changes: list[Change] = []
    for item in resources:
        kind = kind_of(item.type)
        actual = None if clients is None else kind.read(clients, item.id)
        if actual is None:
            changes.append(Change(action="create", type=item.type, id=item.id, name=item.name, declared=item))
            continue
        if not kind.is_setting and (item.type, item.id) not in known:
            raise UsageError(
                f"{item.id} is there already, and this stack did not make it",
                why=f"{item.name} ({item.type}) would take over what another stack or program holds",
                remedy="destroy the other stack first, or give this one an embedded AWS of its own (--state-dir)",
            )
        fields = _different(item, actual)
        if fields:
            changes.append(
                Change(action="update", type=item.type, id=item.id, name=item.name, fields=fields, declared=item)
            )
    wanted = {(item.type, item.id) for item in resources}
    return (*changes, *removals(held for held in state.held if held.key not in wanted))


def removals(held: Iterable[Held]) -> tuple[Change, ...]:
    """Return what takes resources away, the last made first."""
    return tuple(
        Change(action="forget" if item.retain_on_delete else "delete", type=item.type, id=item.id, name=item.name)
        for item in reversed(list(held))
    )


def refuse(changes: Iterable[Change], state: StackState, clients: Clients, *, with_data: bool = False) -> None:
    """Refuse changes that would take away what is protected, or a bucket with its data. Raises UsageError."""
    protected = {held.key for held in state.held if held.protect}
    for change in changes:
        if change.action not in ("delete", "forget"):
            continue
        if (change.type, change.id) in protected:
            raise UsageError(
                f"{change.id} is protected, so nothing was changed",
                why=f"{change.name} ({change.type}) is declared with protect=True: outside dev, data is kept",
                remedy="take `protect` away in infra/data_bucket.py, run `up`, then do this again",
            )
        if change.type == BUCKET_TYPE and not with_data and not is_empty(clients.s3, change.id):
            raise UsageError(
                f"the bucket {change.id} is not empty, so nothing was changed",
                why="a versioned bucket is deleted only when it holds no version of any object",
                remedy="keep it, or delete its data too: `trimtab infra destroy --embedded --with-data`",
            )


def apply(changes: Iterable[Change], state: StackState, clients: Clients, *, save: Save, say: Say) -> StackState:
    """Do the changes in order, recording each; return the state. Raises ProgramError when AWS refuses one."""
    from botocore.exceptions import BotoCoreError, ClientError

    for change in changes:
        say(f"{change.action} {change.name} ({change.id})")
        try:
            state = _do(change, state, clients, save)
        except (ClientError, BotoCoreError) as error:
            raise ProgramError(
                f"the embedded AWS did not {change.action} {change.name}",
                why=str(error),
                remedy="run the same command again: it goes on from here; after `trimtab down` it starts afresh",
            ) from error
    return state


def _do(change: Change, state: StackState, clients: Clients, save: Save) -> StackState:
    kind = kind_of(change.type)
    item = change.declared
    if item is None:
        if change.action == "delete":
            kind.delete(clients, change.id)
        state = state.without((change.type, change.id))
        save(state)
        return state
    save(state.with_held(item.held(settled=False)))
    (kind.create if change.action == "create" else kind.update)(clients, item.id, item.wanted)
    actual = kind.read(clients, item.id) or {}
    fields = _different(item, actual)
    if fields:
        raise ProgramError(
            f"the embedded AWS does not hold {item.name} as it is declared",
            why="; ".join(f"{key} is {actual.get(key)!r}, not {item.wanted[key]!r}" for key in fields),
            remedy=f"teach infra/kinds/ this part of {item.type}",
        )
    state = state.with_held(item.held(settled=True))
    save(state)
    return state


def _different(item: Declared, actual: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key for key, value in item.wanted.items() if actual.get(key) != value)
