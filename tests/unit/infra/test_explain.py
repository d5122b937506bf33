"""What `infra explain` says is what the policies say, as text, as data and as a picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from infra.explain import main
from infra.rights import as_document, places_of, rights_of, roles_of, verbs_at
from infra.rights_picture import picture
from tests.support.catalogues import catalogue
from tests.support.worlds import WORLDS, everything, everything_text
from trimtab.catalogue import Catalogue

_SVG = "{http://www.w3.org/2000/svg}"


def grid(of: Catalogue) -> dict[str, dict[str, str]]:
    """Return place -> role -> what it may do there, in words; a star where only under a condition."""
    return {
        place.label: {
            role.name: " ".join(verb + "*" * conditional for verb, conditional in verbs_at(role, place))
            for role in roles_of(of, "dev")
        }
        for place in places_of(of, "dev")
    }


def test_a_job_alone_reads_its_data_and_writes_its_results() -> None:
    assert grid(catalogue()) == {
        "datasets/tides/": {"job tides": "list read"},
        "models/": {"job tides": ""},
        "results/tides/": {"job tides": "list read write delete"},
        "everything else in it": {"job tides": ""},
        "its settings": {"job tides": ""},
    }


def test_with_everything_each_place_shows_what_each_role_may_do_there() -> None:
    shown = grid(everything("kms"))
    order = ("job tides", "job winds", "GitHub preview", "GitHub deployment")
    assert {place: tuple(row[role] for role in order) for place, row in shown.items()} == {
        "datasets/tides/": ("list read", "", "list", "list"),
        "datasets/winds/": ("", "list read", "list", "list"),
        "models/": ("", "", "list", "list"),
        "results/tides/": ("list read write delete", "", "list", "list"),
        "results/winds/": ("", "list read write delete", "list", "list"),
        "everything else in it": ("", "", "list", "list"),
        "its settings": ("", "", "list read", "list read"),
        "key/01234567-89ab-cdef-0123-456789abcdef": ("decrypt* encrypt*", "decrypt* encrypt*", "", ""),
        "role/harbour/dev/jobs/*": ("", "", "read", "read write delete"),
        "role/harbour/dev/github/*": ("", "", "read", "read"),
        "policy/harbour/dev/job-boundary": ("", "", "read", "read"),
        "oidc-provider/oidc.modal.com": ("", "", "read", "read"),
        "oidc-provider/token.actions.githubusercontent.com": ("", "", "read", "read"),
        "repository/harbour/dev/*": ("", "", "read", "read write sign in"),
        "budget/harbour-dev": ("", "", "read", "read"),
        "s3://harbour-state": ("", "", "list*", "list*"),
        "s3://harbour-state/pulumi/*": ("", "", "read", "read write delete"),
    }


@pytest.mark.parametrize("world", WORLDS)
def test_no_statement_of_a_policy_is_left_out(world: str) -> None:
    of = everything(world)
    told = {(right.role, right.actions) for right in rights_of(of, "dev")}
    assert told == {(r.name, tuple(s["Action"])) for r in roles_of(of, "dev") for s in r.access["Statement"]}
    document = as_document(of, "dev")
    assert sum(len(role["rights"]) for role in document["roles"]) == len(rights_of(of, "dev"))
    assert [role["is_bounded"] for role in document["roles"]] == [True, True, False, False]


def test_who_comes_in_is_told_by_the_claims_of_the_token() -> None:
    roles = {role["role"]: role["assumed_by"] for role in as_document(everything("s3"), "dev")["roles"]}
    assert roles["GitHub deployment"] == {
        "issuer": "token.actions.githubusercontent.com",
        "aud": "sts.amazonaws.com",
        "sub": "repo:harbour@4711/charts@815:ref:refs/heads/main",
    }
    assert roles["job tides"]["sub"].endswith(":app_name:harbour:*")


def test_an_identity_provider_that_was_there_before_is_told_as_any_other() -> None:
    arn = "arn:aws:iam::123456789012:oidc-provider/oidc.modal.com"
    (role,) = roles_of(catalogue(modal__provider_arn=arn), "dev")
    assert role.issuer == "oidc.modal.com"


def test_the_picture_in_the_repository_is_current(root: Path, our_catalogue: Catalogue) -> None:
    drawn = (root / "docs" / "iam.svg").read_text()
    assert drawn == picture(our_catalogue, "dev"), "python -m infra.explain --svg docs/iam.svg"


@pytest.mark.parametrize("world", WORLDS)
def test_the_picture_is_whole_and_nothing_stands_outside_of_it(world: str) -> None:
    drawn = picture(everything(world), "prod")
    assert drawn == picture(everything(world), "prod")
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert root.find(f"{_SVG}desc") is not None
    for text in root.iter(f"{_SVG}text"):
        letters = len(text.text or "")
        anchor = 0.5 if re.search("middle|chip", text.attrib["class"]) else 0.0
        left = float(text.attrib["x"]) - anchor * letters * 7.3
        assert left >= 0, text.text
        assert left + letters * 7.3 <= width, text.text
        assert 0 < float(text.attrib["y"]) < height - 10
    for box in root.iter(f"{_SVG}rect"):
        assert float(box.attrib.get("x", 0)) + float(box.attrib["width"]) <= width


def test_many_jobs_widen_the_picture_instead_of_squeezing_it() -> None:
    job = {"source": "a.b", "config": "c.yaml", "memory": "1GiB", "time": "1min"}
    jobs = {f"job-{n}": {**job, "data": f"d{n}/", "results": f"r{n}/"} for n in range(9)}
    drawn = picture(catalogue(jobs=jobs), "dev")
    assert float(drawn.split('viewBox="0 0 ')[1].split()[0]) > 1200


def test_the_command_prints_a_table_or_data_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trimtab.yaml").write_text(everything_text("kms"))
    where = ["--catalogue", str(tmp_path / "trimtab.yaml")]
    assert main(where) == 0
    told = capsys.readouterr().out
    for expected in ("job tides", "GitHub deployment", "iam:CreateRole", "NoOtherKey", "kms:ViaService is"):
        assert expected in told
    assert main([*where, "--stack", "prod", "--json", "--svg", str(tmp_path / "rights.svg")]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == as_document(everything("kms"), "prod")
    assert (tmp_path / "rights.svg").read_text() == picture(everything("kms"), "prod")
    assert "rights.svg" in printed.err


def test_a_wrong_catalogue_is_exit_2_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trimtab.yaml").write_text("project: only\n")
    assert main(["--catalogue", str(tmp_path / "trimtab.yaml")]) == 2
    assert "has" in capsys.readouterr().err
