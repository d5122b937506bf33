"""`trimtab cost` on a project of its own, as whole processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import environment, trimtab, write_project
from tests.support.registry_of_runs import RESOURCES, attempt, launch, record
from trimtab.cost.ledger import Ledger
from trimtab.cost.spending import settle
from trimtab.storage.registry import Found, registry_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = write_project(tmp_path / "project")
    folder = project / "deploy" / "modal"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "resources.py").write_text(RESOURCES)
    return project


def test_a_hundred_hours_are_told_in_three_cases_with_the_prices_date(project: Path) -> None:
    document = trimtab("cost", "tides", "--compute", "100h", "--json", cwd=project).document

    assert [case["case"] for case in document["cases"]] == ["low", "likely", "high"]
    low = document["cases"][0]
    assert (low["attempts"], round(low["usd"], 2)) == (5, 504.05)
    assert sum(low["parts"].values()) == pytest.approx(low["usd"])
    assert document["prices"]["dated"] >= "2026-10-31"


def test_the_table_says_what_the_machine_is_and_how_many_attempts_are_allowed(project: Path) -> None:
    out = trimtab("cost", "tides", "--compute", "100h", cwd=project).out

    assert "1 x A100-80GB, 32 cores, 128 GiB: 5.032 $/h, of which the GPU is 2.500" in out
    assert "up to 22, and the profile allows 11" in out
    assert "\x1b" not in out


def test_more_than_it_may_cost_is_6_and_still_shows_the_estimate(project: Path) -> None:
    ended = trimtab("cost", "tides", "--compute", "100h", "--max-usd", "500", "--json", cwd=project)

    assert ended.code == 6
    assert ended.document["cases"]
    assert "532 $ of 500 $, of which gpu is 264 $" in ended.document["error"]["why"]
    assert trimtab("cost", "tides", "--compute", "100h", "--max-usd", "533", cwd=project).code == 0


def test_steps_and_their_rate_are_a_time(project: Path) -> None:
    by_steps = trimtab("cost", "tides", "--steps", "3600", "--steps-per-second", "2", "--json", cwd=project).document
    by_time = trimtab("cost", "tides", "--compute", "30min", "--json", cwd=project).document

    assert by_steps["cases"] == by_time["cases"]
    assert by_steps["compute_from"] == "3,600 steps at 2 a second"


def test_a_price_table_of_ones_own_takes_the_place_of_ours(project: Path, root: Path) -> None:
    table = (root / "src/trimtab/cost/prices.toml").read_text()
    (project / ".trimtab").mkdir()
    (project / ".trimtab" / "prices.toml").write_text(table.replace('"A100-80GB" = 2.50', '"A100-80GB" = 5.00'))

    document = trimtab("cost", "tides", "--compute", "1h", "--json", cwd=project).document

    assert document["usd_per_hour"]["gpu"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tdies", "--compute", "1h"), "did you mean 'tides'?"),
        (("tides",), "nobody knows yet how long tides computes"),
        (("tides", "--steps", "3"), "nobody knows yet how long tides computes"),
        (("tides", "--steps-per-second", "3"), "a rate alone is no time"),
        (("tides", "--probe"), "a rate alone is no time"),
        (("tides", "--probe", "--steps", "3", "--steps-per-second", "3"), "--probe measures the rate"),
        (("tides", "--config", "missing.yaml"), "the configuration missing.yaml cannot be read"),
        (("tides", "--compute", "1h", "--steps", "3"), "say the same twice"),
        (("tides", "--compute", "100"), "is not a duration"),
        (("tides", "--compute", "0s"), "takes no time"),
        (("tides", "--compute", "9h", "--start", "25h"), "makes no progress"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_2(project: Path, words: tuple[str, ...], said: str) -> None:
    ended = trimtab("cost", *words, cwd=project)

    assert ended.code == 2
    assert said in ended.err


def test_a_job_without_resources_is_told_where_to_write_them(project: Path) -> None:
    path = project / "deploy" / "modal" / "resources.py"
    path.write_text(path.read_text().replace("tides", "waves"))

    ended = trimtab("cost", "tides", "--compute", "1h", cwd=project)

    assert ended.code == 2
    assert "write deploy/modal/profiles/tides.toml" in ended.err


def test_the_steps_of_a_configuration_are_taken(project: Path) -> None:
    (project / "tides.yaml").write_text("optimisation:\n  steps: 7200\n")

    words = ("cost", "tides", "--config", "tides.yaml", "--steps-per-second", "2", "--json")
    assert trimtab(*words, cwd=project).document["compute_from"] == "7,200 steps at 2 a second"


def test_what_the_last_run_on_modal_cost_stands_beside_the_estimate_and_gives_its_rate(project: Path) -> None:
    ended = record("r1", attempt(0, 61, first_step=0, last_step=7200))
    run = registry_of([Found(place="modal", records=(ended,), launches=(launch(),))]).runs[0]
    settle(Ledger(project / ".trimtab" / "ledger.jsonl"), run)

    document = trimtab("cost", "tides", "--steps", "3600", "--json", cwd=project).document
    assert document["compute_from"].startswith("3,600 steps at 2 a second, the rate of run r1")
    assert (document["last"]["usd"], document["last"]["predicted_usd"]) == (pytest.approx(6.1), 6.0)
    assert (
        "last      6.10 $, predicted 6.00 $: run r1, finished, 1 h 01 min in 1 attempts"
        in trimtab("cost", "tides", cwd=project).out
    )


def test_what_lies_in_the_bucket_and_each_request_are_in_the_sum(project: Path) -> None:
    hour = ("cost", "tides", "--compute", "720h", "--json")
    bucket = ("--bucket-gib", "100", "--read-gib", "2", "--read-requests", "1000000", "--write-requests", "100000")
    bare = trimtab(*hour, cwd=project).document["cases"][0]
    low = trimtab(*hour, *bucket, cwd=project).document["cases"][0]

    # 720 h are a month; an attempt lasts 24 h and starts for 2 min, so 31 of them read it: 31 x 2 x 0.09 + 31 x 0.43.
    months = low["billed_s"] / (30 * 86400)
    assert low["attempts"] == 31
    assert low["parts"]["bucket"] == pytest.approx(100 * 0.0245 * months + 31 * 2 * 0.09)
    assert low["parts"]["requests"] == pytest.approx(31 * 0.43 + 0.54)
    assert low["usd"] - bare["usd"] == pytest.approx(low["parts"]["bucket"] + low["parts"]["requests"])


def test_another_profile_is_asked_for_by_name(project: Path) -> None:
    path = project / "deploy" / "modal" / "resources.py"
    path.write_text(
        f"import sys\nassert sys.argv[1:] == ['--json', '--profile', 'debug'], sys.argv\n{path.read_text()}"
    )

    assert trimtab("cost", "tides", "--compute", "1h", "--profile", "debug", cwd=project).code == 0


def test_prices_cannot_be_refreshed_without_a_token_and_it_is_said(project: Path, tmp_path: Path) -> None:
    env = environment(MODAL_CONFIG_PATH=str(tmp_path / "none.toml"))
    ended = trimtab("cost", "tides", "--compute", "1h", "--refresh", cwd=project, env=env)

    assert ended.code == 2
    assert "there is no Modal to ask" in ended.err
