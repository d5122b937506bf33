"""The JSON Schema that editors use: current, and of one mind with the model that validates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.catalogues import plain
from trimtab.catalogue import Catalogue
from trimtab.catalogue.schema import schema_text

SCHEMA: dict[str, Any] = json.loads(schema_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def model_accepts(document: dict[str, Any]) -> bool:
    try:
        Catalogue.model_validate(document)
    except pydantic.ValidationError:
        return False
    return True


def test_the_schema_in_the_repository_is_current(root: Path) -> None:
    assert (root / "docs" / "trimtab.schema.json").read_text() == schema_text(), "run `trimtab schema`"


def test_the_schema_is_itself_sound() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_this_repositorys_own_catalogue_fits_the_schema(root: Path) -> None:
    catalogue = root / "trimtab.yaml"
    CHECK.validate(yaml.safe_load(catalogue.read_text()))
    first = catalogue.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=docs/trimtab.schema.json"


def test_every_key_of_every_section_tells_an_editor_what_it_is() -> None:
    silent = [
        f"{name}.{key}"
        for name, section in {"Catalogue": SCHEMA, **SCHEMA["$defs"]}.items()
        for key, field in section["properties"].items()
        if "description" not in field and "$ref" not in field and "patternProperties" not in field
    ]
    assert silent == []


def test_no_section_takes_a_key_that_it_does_not_know() -> None:
    assert all(section["additionalProperties"] is False for section in (SCHEMA, *SCHEMA["$defs"].values()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("budgts", {}),
        ("owner", None),
        ("services__gulls__port", 80),
        ("services__gulls__port", "9001"),
        ("services__gulls__memory", 5),
        ("services__gulls__memory", "1 gigabyte"),
        ("services__gulls__start", "1 minute"),
        ("services__gulls__variants", {"tpu": {"size_over_base": "1MB"}}),
        ("services__gulls__golden__expect", {}),
        ("services__gulls__golden__picture", "/etc/passwd"),
        ("services__gulls__golden__picture", "a/../../b"),
        ("services", {"Gulls": plain()["services"]["gulls"]}),
        ("services", {}),
        ("jobs", {"Tides": plain()["jobs"]["tides"]}),
        ("jobs__tides__data", "datasets/tides"),
        ("jobs__tides__data", "datasets/../tides/"),
        ("jobs__tides__data", "/"),
        ("bucket__name", "Harbour"),
        ("bucket__name", "ab"),
        ("bucket__name", "a" * 57),
        ("bucket__name", "xn--harbour"),
        ("bucket__name", "harbour-s3alias"),
        ("bucket__broken_uploads_days", 0),
        ("budgets__usd", "3"),
        ("budgets__usd", -1),
    ],
)
def test_what_the_model_refuses_an_editor_underlines(path: str, value: Any) -> None:
    document = plain(**{path: value})
    assert not model_accepts(document)
    assert not CHECK.is_valid(document)


_NEAR_PREFIXES = st.from_regex(r"\A[a.!/A*-]{0,8}/?\Z")
_NEAR_BUCKETS = st.from_regex(r"\A(xn--|sthree-)?[a-z0-9A-]{0,6}(-s3alias|--ol-s3)?\Z")
_NEAR_PATHS = st.from_regex(r"\A[a./~-]{0,8}\Z")
_NEAR_SIZES = st.from_regex(r"\A[0-9.-]{1,4} ?(B|KiB|kB|KB|gb|GiB|M|)\Z", fullmatch=True)
_NEAR_DURATIONS = st.from_regex(r"\A[0-9.-]{1,4} ?(ms|s|sec|min|m|h|d|)\Z", fullmatch=True)


@given(
    st.one_of(
        st.tuples(st.just("jobs__tides__data"), _NEAR_PREFIXES),
        st.tuples(st.just("bucket__name"), _NEAR_BUCKETS),
        st.tuples(st.just("jobs__tides__config"), _NEAR_PATHS),
        st.tuples(st.just("budgets__disk"), _NEAR_SIZES),
        st.tuples(st.just("budgets__time"), _NEAR_DURATIONS),
    )
)
def test_model_and_schema_agree_on_what_lies_near_the_border(change: tuple[str, str]) -> None:
    path, value = change
    document = plain(**{path: value})
    assert model_accepts(document) == CHECK.is_valid(document)
