"""Brings an embedded AWS to what the program declares: first the changes, then, and only if none is refused, the doing.

Calls the functions of infra/kinds/ and writes the stack's state file. Before a resource is touched the file says that
it is about to be, and after that it is done; a run that is killed between the two is finished by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from infra.difference import Difference, differences
from infra.kinds import Clients, kind_of
from infra.kinds.s3 import is_empty
from infra.stack_state import Held, StackState
from infra.translation import translate
from trimtab.errors import ProgramError, UsageError

if TYPE_CHECKING:
    from infra.graph import Graph

BUCKET_TYPE = "aws:s3/bucket:Bucket"

Key = tuple[str, str]
Say = Callable[[str], None]
Save = Callable[[StackState], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A resource as the embedded AWS is to hold it. `ignored`: what stays as it was made, as `tags.commit`."""

    type: str
    id: str
    name: str
    wanted: Mapping[str, Any]
    protect: bool
    retain_on_delete: bool
    ignored: tuple[str, ...] = ()

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
    differences: tuple[Difference, ...] = ()
    declared: Declared | None = field(default=None, repr=False)

    def as_document(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "action": self.action,
            "type": self.type,
            "name": self.name,
            "id": self.id,
            "fields": sorted({item.field.partition(".")[0].partition("[")[0] for item in self.differences}),
            "differences": [item.as_document() for item in self.differences],
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
                ignored=resource.ignore_changes,
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
                remedy=f"adopt it, knowingly: trimtab infra import --embedded --resource {item.name}; or destroy the "
                "other stack first, or give this one an embedded AWS of its own (--state-dir of infra.embedded)",
            )
        kept = replace(item, wanted=_with_ignored(item, actual))
        found = tuple(_different(kept, actual))
        if found:
            changes.append(
                Change(action="update", type=item.type, id=item.id, name=item.name, differences=found, declared=kept)
            )
    wanted = {(item.type, item.id) for item in resources}
    strays = () if clients is None else additions(wanted, known, clients)
    return (*changes, *strays, *removals(held for held in state.held if held.key not in wanted))


def additions(owners: Iterable[Key], known: Iterable[Key], clients: Clients) -> tuple[Change, ...]:
    """Return what takes away the rights that somebody hung onto a role of ours, beside those that we know of."""
    owners = {*owners}
    known = {*owners, *known}
    return tuple(
        Change(action="delete", type=type_, id=id_, name="(not declared)")
        for owner_type, owner in sorted(owners)
        for type_, id_ in kind_of(owner_type).parts(clients, owner)
        if (type_, id_) not in known
    )


def adopt(names: Sequence[str], resources: Sequence[Declared], state: StackState, clients: Clients) -> StackState:
    """Return the state with declared resources in it that another made. Changes nothing on AWS.

    Raises UsageError for a name that is not declared, and for what is not there.
    """
    known = {held.key for held in state.held}
    by_name = {item.name: item for item in resources if not kind_of(item.type).is_setting}
    for name in names:
        item = by_name.get(name)
        if item is None:
            raise UsageError(
                f"{name} is nothing that can be adopted",
                why=f"the program declares {', '.join(by_name)}; settings and rights follow the resource they are of",
                remedy="name one of them: --resource NAME",
            )
        if kind_of(item.type).read(clients, item.id) is None:
            raise UsageError(
                f"there is no {item.id} to adopt",
                why=f"{item.name} ({item.type}) does not exist on the embedded AWS",
                remedy="check its name in trimtab.yaml; trimtab infra up --embedded makes what does not exist yet",
            )
        if (item.type, item.id) not in known:
            state = state.with_held(item.held(settled=True))
    return state


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
                remedy="keep it, or delete its data too: "
                f"trimtab infra destroy --embedded --with-data --confirm {change.id}",
            )


def apply(changes: Iterable[Change], state: StackState, clients: Clients, *, save: Save, say: Say) -> StackState:
    """Do the changes in order, recording each; return the state. Raises ProgramError when AWS refuses one."""
    from botocore.exceptions import BotoCoreError, ClientError

    for change in changes:
        try:
            state = _do(change, state, clients, save)
        except (ClientError, BotoCoreError) as error:
            raise ProgramError(
                f"the embedded AWS did not {change.action} {change.name}",
                why=str(error),
                remedy="run the same command again: it goes on from here; after `trimtab down` it starts afresh",
            ) from error
        say(f"done: {change.action} {change.name} ({change.id})")
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
    found = tuple(_different(item, kind.read(clients, item.id) or {}))
    if found:
        raise ProgramError(
            f"the embedded AWS does not hold {item.name} as it is declared",
            why="; ".join(f"{one.field} is {one.there!r}, not {one.declared!r}" for one in found),
            remedy=f"teach infra/kinds/ this part of {item.type}",
        )
    state = state.with_held(item.held(settled=True))
    save(state)
    return state


def _different(item: Declared, actual: Mapping[str, Any]) -> Iterator[Difference]:
    wanted = kind_of(item.type).visible(item.wanted)
    for key in wanted:
        yield from differences(key, wanted[key], actual.get(key))


def _with_ignored(item: Declared, actual: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is wanted, with the parts that stay as they were made as they are there."""
    wanted = dict(item.wanted)
    for path in item.ignored:
        key, _, inner = path.partition(".")
        if key in wanted and key in actual:
            there = {inner: actual[key][inner]} if inner in actual[key] else {}
            wanted[key] = {name: value for name, value in wanted[key].items() if name != inner} | there
    return wanted
