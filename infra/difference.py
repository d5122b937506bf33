"""What differs between a declared value and the one that is there, down to the part that a person must look at. Pure.

Of a policy that is its statement, by Sid; of a bucket's lifecycle its rule, by id; of tags the tag.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_NAMES: Final = ("Sid", "id")  # what tells the items of a list apart, where they have one
_SHOWN_CHARACTERS: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that is not as declared. None stands for nothing at all."""

    field: str
    declared: Any
    there: Any

    def as_document(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {"field": self.field, "declared": self.declared, "there": self.there}


def differences(field: str, declared: Any, there: Any) -> Iterator[Difference]:
    """Yield where two values differ, each with its path: `policy.Statement[ReadData].Resource`."""
    declared, there = _opened(declared), _opened(there)
    if declared == there:
        return
    if isinstance(declared, Mapping) and isinstance(there, Mapping):
        for key in sorted({*declared, *there}):
            yield from differences(f"{field}.{key}", declared.get(key), there.get(key))
        return
    ours, theirs = _named(declared), _named(there)
    if ours is None or theirs is None or ours == theirs:  # no names to go by, or only their order differs
        yield Difference(field=field, declared=declared, there=there)
        return
    for name in {**ours, **theirs}:
        yield from differences(f"{field}[{name}]", ours.get(name), theirs.get(name))


def show(change: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that tell a person of one change (as Outcome holds it)."""
    yield f"{change['action']} {change['name']} ({change['id']})"
    for item in change["differences"]:
        yield f"    {item['field']}: declared {_text(item['declared'])}, there is {_text(item['there'])}"


def _opened(value: Any) -> Any:
    """Return a JSON document as what it says: Pulumi keeps policies as text."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _named(value: Any) -> dict[str, Any] | None:
    """Return the items of a list by their names, or None where any has none of its own."""
    if not isinstance(value, list):
        return None
    names = [next((item[key] for key in _NAMES if item.get(key)), None) for item in value if isinstance(item, Mapping)]
    if len(names) < len(value) or None in names or len({*names}) < len(names):
        return None
    return {str(name): item for name, item in zip(names, value, strict=True)}


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
