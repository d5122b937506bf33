"""Sizes, durations and money: what is parsed, what is refused, and what a person reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.units import GIB, KIB, MIB, TIB, format_duration, format_size, format_usd, parse_duration, parse_size

SIZE_UNITS = {
    "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip
DURATION_UNITS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("220MB", 220_000_000), ("1.5GiB", 1_610_612_736), ("  64 KiB ", 65_536), ("0B", 0), ("0.5B", 0)],
)
def test_a_size_is_read_with_its_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "20", "GiB", "20 gib", "20 Gb", "-1GiB", "+1GiB", "1e3MiB", "1,5GiB", "1.GiB", ".5GiB", "1GiB 1MiB", "nanB",
     "infB", "20GiB\n20GiB", "1" * 40 + "B"],
)  # fmt: skip
def test_what_is_no_size_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size such as 20GiB \(units: B, KiB"):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10min", 600), ("1.5h", 5400), ("250ms", 0.25)])
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "90", "10m", "1 month", "-5s", "1h30min", "infs"])
def test_what_is_no_duration_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration such as 10min \(units: ms, s, min, h, d\)"):
        parse_duration(text)


@given(st.integers(0, 8000), st.sampled_from(sorted(SIZE_UNITS)))
def test_a_whole_number_of_any_unit_is_read_exactly(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * SIZE_UNITS[unit]


@given(st.integers(0, 1000 * TIB))
def test_a_printed_size_reads_back_within_its_printed_precision(size_bytes: int) -> None:
    printed = format_size(size_bytes)
    unit = SIZE_UNITS[printed.split()[1]]
    assert abs(parse_size(printed) - size_bytes) <= 0.05 * unit + 1


@given(st.integers(-TIB, TIB), st.integers(-TIB, TIB))
def test_the_larger_of_two_sizes_never_prints_as_the_smaller(one: int, other: int) -> None:
    smaller, larger = sorted((one, other))
    assert _signed(format_size(smaller)) <= _signed(format_size(larger))


@given(st.integers(0, 10**6), st.sampled_from(sorted(DURATION_UNITS)))
def test_a_whole_number_of_any_duration_is_read_exactly(number: int, unit: str) -> None:
    assert parse_duration(f"{number} {unit}") == pytest.approx(number * DURATION_UNITS[unit])


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (220_000_000, "209.8 MiB"), (-3 * GIB, "-3.0 GiB"),
     (5000 * TIB, "5000.0 TiB")],
)  # fmt: skip
def test_a_size_prints_in_the_binary_unit_that_fits(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (9.99, "10.0 s"), (42.4, "42 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
     (3599.7, "1 h 00 min"), (7800, "2 h 10 min"), (90 * 3600, "90 h 00 min")],
)  # fmt: skip
def test_a_duration_prints_as_a_person_says_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("usd", "text"), [(0, "0.00 $"), (3.456, "3.46 $"), (1234.5, "1,234 $")])
def test_money_prints_with_cents_only_where_they_matter(usd: float, text: str) -> None:
    assert format_usd(usd) == text


def _signed(printed: str) -> float:
    sign = -1 if printed.startswith("-") else 1
    return sign * parse_size(printed.removeprefix("-"))
