"""A configuration: parsed, validated (every problem at once), frozen. Reads one file."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trimtab.errors import UsageError

_RESOURCES: Final = frozenset(
    {"cloud", "cpu", "cpus", "ephemeral_disk", "gpu", "gpus", "memory", "memory_mib", "region", "timeout", "timeout_s"}
)

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
AtLeastOne = Annotated[int, Field(ge=1)]
Precision = Literal["float32", "bfloat16", "float16"]
"""What products are computed in; weights, sums and losses stay float32 (torch's automatic mixed precision)."""


class Section(BaseModel):
    """A part of a configuration: frozen, no unknown key, no number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Checkpoints(Section):
    """When to save, and what to keep; `trimtab.storage.retention` says how these combine."""

    every_steps: AtLeastOne
    keep_last: AtLeastOne
    keep_best: AtLeastOne
    keep_every_steps: AtLeastOne | None
    keep_every_hours: Positive | None


class JobConfig(Section):
    """What every job's configuration has. Nothing has a default: a record of the values is a record of the training."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    threads: Annotated[int, Field(ge=1, le=256)]
    checkpoints: Checkpoints


ConfigType = TypeVar("ConfigType", bound=JobConfig)


def load_config(path: Path, model: type[ConfigType]) -> ConfigType:
    """Return the configuration in a YAML file. Raises UsageError with every problem, each with its path."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(
            f"the configuration {path} cannot be read", why=str(error), remedy="give a YAML file with --config"
        ) from error
    if resources := sorted(_resources(raw, ())):
        raise UsageError(
            f"{path} asks for resources: {', '.join(resources)}",
            why="a configuration says how to learn, not on what: the same one must do at the desk and on a rented GPU",
            remedy="take them out; resources live in deploy/modal/",
        )
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or 'the file'}: {_problem(item, model)}" for item in error.errors()
        ]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        why = "\n    ".join(["", *problems])
        remedy = "mend them all; the job's file in configs/local/ has every key"
        raise UsageError(f"{path} has {count}", why=why, remedy=remedy) from error


def _resources(value: object, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            here = (*path, str(key))
            if str(key).lower() in _RESOURCES:
                yield ".".join(here)
            else:
                yield from _resources(below, here)


def _problem(item: Any, model: type[BaseModel]) -> str:
    match item["type"]:
        case "extra_forbidden":
            known = _known_keys(item["loc"][:-1], model)
            near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
            return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known here: {', '.join(known)}"
        case "missing":
            return "is missing"
        case _:
            return f"{item['msg'][0].lower()}{item['msg'][1:]} (it is {item['input']!r})"


def _known_keys(path: tuple[str | int, ...], model: type[BaseModel]) -> tuple[str, ...]:
    section = model
    for part in path:
        section = typing.cast("type[BaseModel]", section.model_fields[str(part)].annotation)
    return tuple(section.model_fields)
