"""Where images are pushed, and under which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.catalogues import catalogue
from trimtab.catalogue import Catalogue
from trimtab.errors import UsageError
from trimtab.images.inputs import base_inputs, service_inputs
from trimtab.images.registry import ADDRESS_VARIABLE, remote_reference, repository

INPUTS = "0123456789abcdef" * 4
GITHUB = {"repository": "Harbour/Charts", "branch": "main"}
PLAIN = {"kind": "plain", "address": "127.0.0.1:5000"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (catalogue(github=GITHUB), "ghcr.io/harbour/charts/harbour/gulls"),
        (catalogue(registry=PLAIN), "127.0.0.1:5000/harbour/gulls"),
    ],
    ids=["ghcr", "plain"],
)
def test_a_repository_is_known_from_the_catalogue(known: Catalogue, expected: str) -> None:
    assert repository(known, "gulls") == expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (catalogue(registry={"kind": "ecr"}), "1.dkr.ecr.eu-north-1.amazonaws.com/harbour/prod/gulls"),
        (catalogue(github=GITHUB), "1.dkr.ecr.eu-north-1.amazonaws.com/harbour/gulls"),
        (catalogue(registry=PLAIN), "1.dkr.ecr.eu-north-1.amazonaws.com/harbour/gulls"),
    ],
    ids=["ecr", "ghcr", "plain"],
)
def test_the_environment_says_where_any_registry_is(
    known: Catalogue, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "1.dkr.ecr.eu-north-1.amazonaws.com")
    assert repository(known, "gulls") == expected


@pytest.mark.parametrize("registry", [{"kind": "ghcr"}, {"kind": "ecr"}], ids=["ghcr", "ecr"])
def test_a_registry_that_nothing_names_is_refused_with_2(registry: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not known where images are pushed") as caught:
        repository(catalogue(registry=registry), "gulls")
    assert ADDRESS_VARIABLE in caught.value.remedy


def test_a_pushed_image_is_named_by_its_variant_and_its_inputs() -> None:
    known = catalogue(registry=PLAIN)
    assert remote_reference(known, "gulls", "cpu", INPUTS) == "127.0.0.1:5000/harbour/gulls:cpu-0123456789abcdef"


FILES = ("Dockerfile", ".dockerignore", "__init__.py", "serving/app.py", "gulls/models.toml")
BASE_FILES = ("base/Dockerfile", "base/install.py", "requirements-cpu.lock")
OTHERS = ("terns/models.toml", "gulls/golden/picture.jpg", "requirements-gpu.lock", "model_zoo/fetch.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (*FILES, *BASE_FILES, *OTHERS):
        (tmp_path / "services" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "services" / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", [*FILES, *BASE_FILES])
def test_whatever_an_image_is_made_from_changes_its_inputs(root: Path, name: str) -> None:
    before = service_inputs(root, catalogue(), "gulls", "cpu")
    (root / "services" / name).write_text("changed")
    assert service_inputs(root, catalogue(), "gulls", "cpu") != before


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_does(root: Path, name: str) -> None:
    before = service_inputs(root, catalogue(), "gulls", "cpu")
    (root / "services" / name).write_text("changed")
    assert service_inputs(root, catalogue(), "gulls", "cpu") == before


def test_services_variants_and_base_images_have_inputs_of_their_own(root: Path) -> None:
    other = catalogue(base_image="python:3.13-slim-trixie")
    found = {
        service_inputs(root, catalogue(), "gulls", "cpu"),
        service_inputs(root, catalogue(), "gulls", "gpu"),
        service_inputs(root, catalogue(), "terns", "cpu"),
        service_inputs(root, other, "gulls", "cpu"),
        base_inputs(root, catalogue(), "cpu"),
        base_inputs(root, other, "cpu"),
    }
    assert len(found) == 6


@pytest.mark.parametrize("name", [file for file in FILES if file != ".dockerignore"])
def test_a_services_own_files_leave_the_base_alone(root: Path, name: str) -> None:
    before = base_inputs(root, catalogue(), "cpu")
    (root / "services" / name).write_text("changed")
    assert base_inputs(root, catalogue(), "cpu") == before
