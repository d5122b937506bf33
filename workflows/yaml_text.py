"""Write plain data as YAML that reads as if a person had written it: no anchors, comments where given. Pure.

PyYAML's own writer knows no comments and no literal blocks; what is written here is parsed back by it in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self, TypeGuard

import yaml

# Any inside: dict and tuple literals of callers stay readable; the tests parse every file back.
Value = str | int | bool | Sequence[Any] | Mapping[str, Any]

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./$~]")


class Noted(str):
    """A value with a comment behind it."""

    __slots__ = ("note",)

    def __new__(cls, value: str, note: str) -> Self:
        """Keep the comment beside the text."""
        made = super().__new__(cls, value)
        made.note = note
        return made

    note: str


class Explained(dict[str, Value]):
    """A mapping with a comment above it, one line each."""

    def __init__(self, comment: str, items: Mapping[str, Value]) -> None:
        super().__init__(items)
        self.comment = tuple(comment.splitlines())


def yaml_text(document: Mapping[str, Value], *, header: str) -> str:
    """Return the text of a document below its header; an empty line between its sections, and between its jobs."""
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for number, (key, value) in enumerate(document.items()):
        lines += [""] * (number > 0)
        if key == "jobs" and isinstance(value, Mapping):
            lines.append("jobs:")
            for place, (name, job) in enumerate(value.items()):
                lines += [""] * (place > 0)
                lines += _entry(name, job, 2)
        else:
            lines += _entry(key, value, 0)
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Value, depth: int) -> Iterator[str]:
    margin = " " * depth
    if isinstance(value, Explained):
        yield from (f"{margin}# {line}" for line in value.comment)
    if isinstance(value, Mapping) and value:
        yield f"{margin}{key}:"
        for name, inner in value.items():
            yield from _entry(name, inner, depth + 2)
    elif isinstance(value, str) and "\n" in value:
        yield f"{margin}{key}: |"
        yield from (f"{margin}  {line}".rstrip() for line in value.rstrip("\n").splitlines())
    elif _is_list(value) and any(isinstance(item, Mapping) for item in value):
        yield f"{margin}{key}:"
        for item in value:
            yield from _item(item, depth + 2)
    else:
        yield f"{margin}{key}: {_inline(value)}"


def _item(item: Value, depth: int) -> Iterator[str]:
    if not isinstance(item, Mapping):
        yield f"{' ' * depth}- {_inline(item)}"
        return
    if isinstance(item, Explained):
        yield from (f"{' ' * depth}# {line}" for line in item.comment)
    lines = [line for key, value in item.items() for line in _entry(key, value, depth + 2)]
    yield f"{' ' * depth}- {lines[0].lstrip()}"
    yield from lines[1:]


def _inline(value: Value, *, in_list: bool = False) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Noted):
        return f"{_scalar(value)} # {value.note}"
    if isinstance(value, str):
        return _scalar(value, in_list=in_list)
    if isinstance(value, Mapping):
        return "{}"
    if _is_list(value):
        return f"[{', '.join(_inline(item, in_list=True) for item in value)}]"
    return str(value)


def _scalar(text: str, *, in_list: bool = False) -> str:
    """Return a text as it stands where YAML reads it back as that very text, else in double quotes."""
    try:
        if _PLAIN.match(text) and yaml.safe_load(f"[{text}]" if in_list else f"key: {text}") == (
            [text] if in_list else {"key": text}
        ):
            return text
    except yaml.YAMLError:
        pass
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)
