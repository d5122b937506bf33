"""`trimtab infra`: which program of the project is started, with which words, and what comes of its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.support.commands import Ended, argv_of, environment, trimtab, write_project
from tests.support.terminal import shown_on_terminal

PROGRAMS: Final = ("embedded", "pulumi_cli", "explain")
_TELLING: Final = """\
import json, pathlib, sys
with (pathlib.Path.cwd() / "calls").open("a") as calls:
    calls.write(json.dumps([pathlib.Path(__file__).stem, *sys.argv[1:]]) + "\\n")
print("the result")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project whose programs only write down how they were called."""
    project = write_project(tmp_path / "project")
    (project / "infra").mkdir()
    for name in PROGRAMS:
        (project / "infra" / f"{name}.py").write_text(_TELLING)
    return project


def calls(project: Path) -> list[list[str]]:
    written = project / "calls"
    return [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []


def infra(project: Path, *words: str) -> Ended:
    return trimtab("infra", *words, cwd=project)


@pytest.mark.parametrize(
    ("words", "called"),
    [
        ("preview", "pulumi_cli preview --stack dev --catalogue CATALOGUE"),
        ("up --stack prod", "pulumi_cli up --stack prod --catalogue CATALOGUE"),
        ("up --embedded --json", "embedded up --stack dev --catalogue CATALOGUE --state-dir STATE --json"),
        ("outputs --env --embedded", "embedded outputs --stack dev --catalogue CATALOGUE --state-dir STATE --env"),
        ("drift --stack prod --json", "pulumi_cli drift --stack prod --catalogue CATALOGUE --json"),
        ("drift --embedded", "embedded drift --stack dev --catalogue CATALOGUE --state-dir STATE"),
        ("import", "pulumi_cli import --stack dev --catalogue CATALOGUE"),
        (
            "import --resource data-bucket --resource modal-provider",
            "pulumi_cli import --stack dev --catalogue CATALOGUE --resource data-bucket --resource modal-provider",
        ),
        ("destroy", "pulumi_cli destroy --stack dev --catalogue CATALOGUE"),
        (
            "destroy --with-data --confirm a --confirm b",
            "pulumi_cli destroy --stack dev --catalogue CATALOGUE --with-data --confirm a --confirm b",
        ),
        (
            "destroy --with-data --dry-run --embedded",
            "embedded destroy --stack dev --catalogue CATALOGUE --state-dir STATE --with-data --dry-run",
        ),
        ("explain", "explain --catalogue CATALOGUE"),
        ("explain --json --svg rights.svg", "explain --catalogue CATALOGUE --svg SVG --json"),
    ],
)
def test_a_verb_starts_its_program_with_its_words_and_passes_on_what_it_prints(
    project: Path, words: str, called: str
) -> None:
    ended = infra(project, *words.split())
    assert (ended.code, ended.out) == (0, "the result\n")
    places = {"CATALOGUE": project / "trimtab.yaml", "STATE": project / ".trimtab/aws", "SVG": project / "rights.svg"}
    assert calls(project) == [[str(places.get(word, word)) for word in called.split()]]


@pytest.mark.parametrize("verb", ["drift", "import", "explain", "preview", "destroy"])
@pytest.mark.parametrize(("code", "ours"), [(5, 5), (2, 2), (1, 4)])
def test_a_program_s_exit_code_is_the_command_s_unless_it_broke(project: Path, verb: str, code: int, ours: int) -> None:
    for name in PROGRAMS:
        (project / "infra" / f"{name}.py").write_text(f"print('half an answer'); raise SystemExit({code})")
    ended = infra(project, verb)
    assert ended.code == ours
    assert f"ended with exit code {code}" in ended.err


def test_off_a_terminal_nobody_is_asked_and_no_name_is_made_up(project: Path) -> None:
    assert infra(project, "destroy", "--with-data").code == 0
    assert [call[0:2] for call in calls(project)] == [["pulumi_cli", "destroy"]]
    assert "--confirm" not in calls(project)[0]


def test_on_a_terminal_what_would_go_is_shown_and_the_name_is_asked_for(project: Path) -> None:
    words = ("infra", "destroy", "--with-data", "--catalogue", str(project / "trimtab.yaml"))
    shown = shown_on_terminal(argv_of(*words), env=environment(), typed="harbour-charts-dev\n")
    assert "The bucket's name, to go on" in shown
    shared = ["pulumi_cli", "destroy", "--stack", "dev", "--catalogue", str(project / "trimtab.yaml"), "--with-data"]
    assert calls(project) == [[*shared, "--dry-run"], [*shared, "--confirm", "harbour-charts-dev"]]
