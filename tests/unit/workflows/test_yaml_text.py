"""What is written as YAML is read back as the very same data, and reads well."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from workflows.yaml_text import Explained, Noted, Value, yaml_text

TEXTS = st.text(
    st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("éß"), max_size=30
) | st.sampled_from(
    ["on", "no", "1.0", "~", "null", "a: b", "a #b", "${{ x }}", "!x", "- a", "'", '"', "2026-01-01", ""]
)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-5, 99),
    lambda inner: (
        st.lists(TEXTS, min_size=1, max_size=3) | st.dictionaries(TEXTS.filter(str.isalpha), inner, max_size=3)
    ),
    max_leaves=8,
)


HAND_WRITTEN = """\
# Rendered.
#
# Twice.
name: tides

on:
  push:
    branches: [main]

jobs:
  # Why.
  ebb:
    runs-on: x
    env:
      A: read # because

  flow:
    steps:
      - name: "Go: on"
        run: |
          a
          b
      - uses: ./x
"""


@given(st.dictionaries(st.from_regex(r"[a-z]{3,8}-x", fullmatch=True), VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_back(document: dict[str, Value]) -> None:
    read = yaml.load(yaml_text(document, header="h"), Loader=yaml.BaseLoader)  # noqa: S506 - it makes nothing but text
    assert read == _as_text(document)


def test_a_document_reads_as_if_written_by_hand() -> None:
    document = {
        "name": "tides",
        "on": {"push": {"branches": ["main"]}},
        "jobs": {
            "ebb": Explained("Why.", {"runs-on": "x", "env": {"A": Noted("read", "because")}}),
            "flow": {"steps": ({"name": "Go: on", "run": "a\nb\n"}, {"uses": "./x"})},
        },
    }
    assert yaml_text(document, header="Rendered.\n\nTwice.") == HAND_WRITTEN


def _as_text(value: Value) -> object:
    """Return data as YAML's base loader gives it: every scalar as text."""
    if isinstance(value, dict):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
