"""The page of the embedded Modal names exactly the calls that it answers."""

from __future__ import annotations

from pathlib import Path

from trimtab.emulation.modal import calls
from trimtab.emulation.modal.control import SUPPORTED
from trimtab.emulation.modal.rpc import CALLS

BEGIN = "<!-- calls -->"
END = "<!-- end of calls -->"


def table() -> str:
    """Return the table of every call that is answered, by subject."""
    lines = ["| call | who | does |", "|---|---|---|"]
    for subject in calls.__all__:
        found = sorted((call for call in CALLS.values() if call.subject == subject), key=lambda call: call.name)
        lines.append(f"| **{subject}** | | |")
        lines += [f"| `{call.name}` | {call.who.value} | {call.does} |" for call in found]
    return "\n".join(lines)


def test_the_table_of_calls_is_the_registry(root: Path) -> None:
    text = (root / "docs" / "embedded-modal.md").read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table()


def test_every_call_says_what_it_does() -> None:
    assert [name for name, call in CALLS.items() if not call.does.endswith(".")] == []


def test_the_page_names_the_versions_that_are_supported(root: Path) -> None:
    text = (root / "docs" / "embedded-modal.md").read_text()
    for version in SUPPORTED:
        assert f"{version}x" in text
