"""Which images are to be built: those that the registry does not hold, and those of which it does not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.catalogues import catalogue
from trimtab.errors import ProgramError, UsageError
from trimtab.images.changed import image_states
from trimtab.images.inputs import service_inputs

TERNS = {
    "port": 9002,
    "memory": "256MiB",
    "start": "20s",
    "variants": {"cpu": {"size_over_base": "10MB"}, "gpu": {"size_over_base": "1GiB"}},
    "golden": {"picture": "services/terns/golden.jpg", "post": "/v1/detect", "expect": {"tern": 1}},
}
HARBOUR = catalogue(services__terns=TERNS, registry={"kind": "plain", "address": "127.0.0.1:5000"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("gulls", "terns"):
        (tmp_path / "services" / name).mkdir(parents=True)
        (tmp_path / "services" / name / "models.toml").write_text(name)
    (tmp_path / "services" / "Dockerfile").write_text("FROM x\n")
    return tmp_path


def references(root: Path) -> list[str]:
    return [state.reference for state in image_states(root, HARBOUR, digest_of=lambda _: None)]


def test_what_the_registry_holds_is_not_built(root: Path) -> None:
    held = references(root)[:1]
    states = image_states(root, HARBOUR, digest_of=lambda name: "sha256:1" if name in held else None)
    assert [(s.service, s.variant, s.verb, s.changed) for s in states] == [
        ("gulls", "cpu", "deploy", False),
        ("terns", "cpu", "deploy", True),
        ("terns", "gpu", "build", True),
    ]


def test_a_change_of_one_service_gives_only_its_images_other_names(root: Path) -> None:
    before = references(root)
    (root / "services" / "terns" / "models.toml").write_text("another model")
    after = references(root)
    assert before[0] == after[0]
    assert {*before[1:]}.isdisjoint(after[1:])


def test_a_change_of_what_all_share_gives_every_image_another_name(root: Path) -> None:
    before = references(root)
    (root / "services" / "Dockerfile").write_text("FROM y\n")
    assert {*before}.isdisjoint(references(root))


def test_a_registry_that_does_not_tell_has_everything_built(root: Path) -> None:
    def refuse(_: str) -> str | None:
        raise ProgramError("the engine refused", why="denied\nmore", remedy="sign in")

    states = image_states(root, HARBOUR, digest_of=refuse)
    assert {state.why for state in states} == {"the registry does not tell: denied"}


def test_a_service_that_serves_something_else_is_deployed_again_though_the_registry_holds_its_image(root: Path) -> None:
    inputs = service_inputs(root, HARBOUR, "gulls", "cpu")
    states = image_states(
        root, HARBOUR, digest_of=lambda _: "sha256:1", serving=lambda name: inputs if name == "gulls" else "older"
    )
    assert [(s.service, s.variant, s.why) for s in states if s.changed] == [("terns", "cpu", "not what serves here")]


def test_everything_is_built_where_that_is_asked_for_and_nobody_is_asked(root: Path) -> None:
    states = image_states(root, HARBOUR, digest_of=lambda _: pytest.fail("asked"), everything=True)
    assert all(state.changed for state in states)


def test_without_an_address_there_is_nobody_to_ask(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_REGISTRY", raising=False)
    with pytest.raises(UsageError, match="where images are pushed"):
        image_states(root, catalogue(), digest_of=lambda _: None)
