"""Modal's own prices, by `modal billing rates --json`, put into the place of the table's. Pure but for one file.

That answer is a flat object of names and decimals whose names are documented nowhere (modal/cli/billing.py of client
1.6.4 prints what the server sends). So a name is understood only where it can mean one line of the table: it holds
exactly one GPU's name, or the word for cores or memory. And a price only where it is near the table's, which also
tells whether it is one of a second or of an hour. What is not understood is said, and keeps the table's price.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from trimtab.cost.estimate import HOUR_S
from trimtab.cost.prices import ALIASES, Prices
from trimtab.errors import ProgramError
from trimtab.storage.durable import make_directory, write_whole

SOURCE: Final = "modal billing rates --json"
_NEAR: Final = 3.0
"""Prices move by less than this factor between two looks, and a second is 3600 times shorter than an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """The new table, the names that were understood with what they mean now, and those that were not, with the why."""

    prices: Prices
    understood: Mapping[str, float]
    passed_over: Mapping[str, str]


def refreshed(prices: Prices, rates: Mapping[str, str], *, today: date) -> Refreshed:
    """Return the table with what the rates tell. Raises ProgramError where they tell nothing that is understood."""
    lines = dict(_lines(prices))
    understood: dict[str, tuple[str, float]] = {}
    passed_over: dict[str, str] = {}
    for name, text in rates.items():
        meant = [line for line in lines if _means(name, line, prices)]
        try:
            value = float(text)
        except ValueError:
            passed_over[name] = f"{text!r} is no price"
            continue
        if len(meant) != 1:
            passed_over[name] = f"it could be {', '.join(meant)}" if meant else "the table has no such line"
            continue
        line = meant[0]
        found = [one for one in _readings(value, line) if lines[line] / _NEAR < one < lines[line] * _NEAR]
        if len(found) != 1:
            passed_over[name] = f"{text} is far from {lines[line]:g}, which the table has, by second and by hour"
        elif line in understood and understood[line][1] != found[0]:
            passed_over[name] = f"{understood[line][0]} says otherwise"
        else:
            understood[line] = (name, found[0])
    if not understood:
        raise ProgramError(
            "Modal's rates were not understood",
            why="; ".join(f"{name}: {why}" for name, why in list(passed_over.items())[:5]) or "it told none",
            remedy="the table that is there stays in use; `modal billing rates` shows them to a person",
        )
    new = {line: price for line, (_, price) in understood.items()}
    changes = {
        "dated": today,
        "source": f"{SOURCE}, of {today}, for {', '.join(new)}; the others: {prices.source} ({prices.dated})",
        "gpu_hour": {gpu: new.get(gpu, usd) for gpu, usd in prices.gpu_hour.items()},
        "compute": prices.compute.model_copy(
            update={name: new[name] for name in ("core_second", "memory_gib_second") if name in new}
        ),
    }
    return Refreshed(prices=prices.model_copy(update=changes), understood=new, passed_over=passed_over)


def write_prices(path: Path, prices: Prices) -> None:
    """Write a table where `load_prices` reads it, whole."""
    document = prices.model_dump(mode="python")
    lines = [f"dated = {document.pop('dated').isoformat()}", f"source = {_quoted(document.pop('source'))}"]
    for section, values in document.items():
        lines += ["", f"[{section}]", *(f"{_quoted(name)} = {value!r}" for name, value in values.items())]
    make_directory(path.parent)
    write_whole(path, "\n".join(lines).encode() + b"\n")


def _lines(prices: Prices) -> Iterator[tuple[str, float]]:
    yield from prices.gpu_hour.items()
    yield "core_second", prices.compute.core_second
    yield "memory_gib_second", prices.compute.memory_gib_second


def _means(name: str, line: str, prices: Prices) -> bool:
    """Tell whether a name of Modal's can mean a line of the table."""
    words = re.findall(r"[a-z]+\d*|\d+", name.lower())
    if line == "core_second":
        return bool({"cpu", "core", "cores"} & set(words)) and not _gpus_in(words, prices)
    if line == "memory_gib_second":
        return bool({"memory", "mem", "ram"} & set(words)) and not _gpus_in(words, prices)
    return _gpus_in(words, prices) == {line}


def _gpus_in(words: list[str], prices: Prices) -> set[str]:
    """Return the GPUs whose names are in these words. Of A100-80GB and A100, both of which then are, the longer."""
    text = f" {' '.join(words)} "
    names = {gpu: gpu for gpu in prices.gpu_hour} | dict(ALIASES)
    spoken = {" ".join(re.findall(r"[a-z]+\d*|\d+", name.lower())): gpu for name, gpu in names.items()}
    found = [name for name in spoken if f" {name} " in text or f" {name.removesuffix(' gb')} " in text]
    return {spoken[name] for name in found if not any(name != other and name in other for other in found)}


def _readings(value: float, line: str) -> tuple[float, ...]:
    """Return what a price means in the table's unit, read as one of a second and as one of an hour."""
    return (value, value / HOUR_S) if line.endswith("_second") else (value * HOUR_S, value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
