"""Load trimtab.yaml: parse -> validate (collect every problem) -> complete.

Reads one file. Aliases, merges, duplicate keys and files over a megabyte are refused: a catalogue is read by people.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from trimtab.catalogue.model import Catalogue
from trimtab.catalogue.rules import cross_problems
from trimtab.errors import UsageError

_MAX_BYTES: Final = 1024 * 1024
_MAX_DEPTH: Final = 20
_MAX_SHOWN: Final = 80
_TWICE: Final = "stands twice"

_Path = tuple[str | int, ...]


def load_catalogue(path: Path) -> Catalogue:
    """Return the catalogue in a file. Raises UsageError with every problem at once, each with its line and path."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the catalogue {path} cannot be read",
            why=error.strerror or str(error),
            remedy="run from inside a Trimtab project, or name the file with --catalogue PATH",
        ) from error
    if len(raw) > _MAX_BYTES:
        raise UsageError(f"{path} is too large", why="a catalogue has at most 1 MiB", remedy="check the file's name")
    try:
        return parse_catalogue(raw.decode(), name=path.name)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text", why=str(error), remedy="save it as UTF-8") from error


def parse_catalogue(text: str, *, name: str = "trimtab.yaml") -> Catalogue:
    """Return the catalogue that a text holds. Raises UsageError as `load_catalogue` does."""
    lines: dict[_Path, int] = {}
    problems: list[tuple[_Path, str]] = []
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            problems += _walk(root, (), lines, set())
        is_sound = all(problem == _TWICE for _, problem in problems)
        plain = yaml.safe_load(text) if is_sound else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not YAML", why=str(error), remedy="mend the line that is named") from error
    catalogue = None
    if is_sound:
        try:
            catalogue = Catalogue.model_validate(plain)
        except ValidationError as error:
            problems += [_explain(item) for item in error.errors()]
        else:
            problems += cross_problems(catalogue)
    if catalogue is None or problems:
        raise _catalogue_error(name, problems, lines)
    return catalogue


def _catalogue_error(name: str, problems: list[tuple[_Path, str]], lines: Mapping[_Path, int]) -> UsageError:
    rows = []
    for path, problem in problems:
        known = next((path[:n] for n in range(len(path), -1, -1) if path[:n] in lines), ())
        place = ".".join(map(str, path)) or "the file"
        rows.append((lines.get(known, 1), f"{name}:{lines.get(known, 1)}: {place}: {problem}"))
    count = "1 problem" if len(rows) == 1 else f"{len(rows)} problems"
    return UsageError(
        f"{name} has {count}",
        why="\n    " + "\n    ".join(text for _, text in sorted(rows)),
        remedy="mend them all; docs/trimtab.schema.json lets an editor check as you type",
    )


def _walk(node: yaml.Node, path: _Path, lines: dict[_Path, int], seen: set[int]) -> Iterator[tuple[_Path, str]]:
    """Note the line of each path; yield what a reader of YAML would silently get wrong."""
    if id(node) in seen:  # only an alias names a node twice; following it could take for ever
        yield path, "is an alias; write the value out"
        return
    if len(path) > _MAX_DEPTH:
        yield path, "is nested too deeply"
        return
    seen.add(id(node))
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                yield path, f"has a key that is not plain text (line {key.start_mark.line + 1})"
                continue
            place = (*path, key.value)
            if place in lines:
                yield place, _TWICE
            lines[place] = key.start_mark.line + 1
            yield from _walk(value, place, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index), lines, seen)


def _explain(item: Any) -> tuple[_Path, str]:
    path: _Path = tuple(part for part in item["loc"] if part != "[key]")
    match item["type"]:
        case "extra_forbidden":
            known = _known_keys(path[:-1])
            near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            return path, f"unknown key; {hint}"
        case "missing":
            return path, "is missing"
        case "value_error":
            return path, str(item["ctx"]["error"])
        case "string_pattern_mismatch":
            return path, f"{_shown(item['input'])} does not match {item['ctx']['pattern']}"
        case "model_type" | "mapping_type":
            known = _known_keys(path)
            keys = f" with the keys {', '.join(known)}" if known else ""
            return path, f"must be a section{keys} (it is {_shown(item['input'])})"
        case _:
            return path, f"{item['msg'][0].lower()}{item['msg'][1:]} (it is {_shown(item['input'])})"


def _shown(value: object) -> str:
    text = "empty" if value is None else repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _known_keys(path: _Path) -> tuple[str, ...]:
    """Return the keys of the section at a path, by following the model's own annotations."""
    section: Any = Catalogue
    for part in path:
        if isinstance(section, type) and issubclass(section, BaseModel):
            field = section.model_fields.get(str(part))
            section = None if field is None else field.annotation
        else:
            arguments = typing.get_args(section)
            section = arguments[-1] if arguments else None
    if isinstance(section, type) and issubclass(section, BaseModel):
        return tuple(section.model_fields)
    return ()
