"""What `pulumi up` runs, run as Pulumi runs it: a file of its own, told by the environment what to declare."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pulumi
import pytest

from infra.embedded import record_stack
from infra.graph import Graph, record
from tests.support.catalogues import catalogue, text
from trimtab.project import current_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def entry(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the file, with the harbour's catalogue in the environment."""
    (tmp_path / "trimtab.yaml").write_text(text())
    monkeypatch.setenv("TRIMTAB_CATALOGUE", str(tmp_path / "trimtab.yaml"))
    monkeypatch.setenv("TRIMTAB_COMMIT", COMMIT)
    monkeypatch.setattr(sys, "path", [*sys.path])  # it adds its own root
    return root / "infra" / "__main__.py"


def run(entry: Path, stack: str) -> Graph:
    return record(
        lambda: void(runpy.run_path(str(entry), run_name="__main__")),
        project="trimtab",
        stack=stack,
        predict=lambda _type, name, inputs: (name, {"arn": f"arn:aws:x::1:{name}", "name": inputs.get("name", name)}),
    )


def void(_: object) -> None:
    """Drop what a module defines."""


def tags(graph: Graph) -> dict[str, str]:
    found: dict[str, str] = next(r.inputs["tags"] for r in graph.resources if r.name == "data-bucket")
    return found


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_it_declares_the_stack_of_the_catalogue_that_the_environment_names(entry: Path, stack: str) -> None:
    graph, expected = run(entry, stack), record_stack(catalogue(), stack)
    assert [(r.type, r.name, r.protect) for r in graph.resources] == [
        (r.type, r.name, r.protect) for r in expected.resources
    ]
    assert graph.exports.keys() == expected.exports.keys()
    assert graph.exports["bucket"] == catalogue().bucket_name(stack)


def test_what_it_declares_says_from_which_commit_it_came(entry: Path) -> None:
    assert tags(run(entry, "dev"))["commit"] == COMMIT


def test_without_a_commit_in_the_environment_it_is_the_one_that_is_checked_out(
    entry: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIMTAB_COMMIT")
    before = current_commit(root)
    tagged = tags(run(entry, "dev")).get("commit", "")
    assert tagged in (before, current_commit(root))  # somebody may commit while this runs


def test_without_a_catalogue_in_the_environment_it_is_the_repository_s(
    entry: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimtab.catalogue import load_catalogue

    monkeypatch.delenv("TRIMTAB_CATALOGUE")
    ours = load_catalogue(root / "trimtab.yaml")
    assert run(entry, "dev").exports["bucket"] == ours.bucket_name("dev")


def test_a_catalogue_with_a_problem_stops_pulumi_with_our_words(entry: Path, tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text(text(owner=None))
    with pytest.raises(pulumi.RunError, match="owner: is missing"):
        run(entry, "dev")


def test_a_stack_that_the_house_does_not_know_is_not_declared(entry: Path) -> None:
    with pytest.raises(pulumi.RunError, match="there is no stack 'staging'"):
        run(entry, "staging")
