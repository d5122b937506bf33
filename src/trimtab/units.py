"""Sizes, durations and money: parsed from the catalogue, printed for people. Pure; binary units everywhere."""

from __future__ import annotations

import re
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIB: Final = 1024 * GIB

_SIZE_UNITS: Final = {
    "B": 1,
    "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY: Final = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?)\s*(?P<unit>[A-Za-z]{1,3})")


def parse_size(text: str) -> int:
    """Return the bytes that a size such as `220 MB` or `1.5GiB` means.

    Raises ValueError, with the accepted units, for anything else; a bare number has no unit and is refused.
    """
    return round(_parse_quantity(text, _SIZE_UNITS, "a size such as 20GiB"))


def parse_duration(text: str) -> float:
    """Return the seconds that a duration such as `90s`, `10min` or `24h` means. Raises ValueError otherwise."""
    return _parse_quantity(text, _DURATION_UNITS, "a duration such as 10min")


def _parse_quantity(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match["unit"] not in units:
        raise ValueError(f"{text!r} is not {wanted} (units: {', '.join(units)})")
    return float(match["number"]) * units[match["unit"]]


def format_size(size_bytes: float) -> str:
    """Return a size in the binary unit that leaves one to four digits before the point: `1.5 GiB`."""
    sign, size = ("-", -size_bytes) if size_bytes < 0 else ("", size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < KIB:
            return f"{sign}{size:.0f} B" if unit == "B" else f"{sign}{size:.1f} {unit}"
        size /= KIB
    return f"{sign}{size:.1f} TiB"


def format_duration(seconds: float) -> str:
    """Return a duration as a person says it: `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_usd(usd: float) -> str:
    """Return an amount of money: cents below 100 $, whole dollars above."""
    return f"{usd:,.2f} $" if usd < 100 else f"{usd:,.0f} $"
