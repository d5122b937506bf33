"""trimtab.yaml -> Catalogue: what is accepted, and every problem at once with its place and the nearest key."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.catalogues import TEXT, catalogue, plain, text
from trimtab.catalogue import load_catalogue, parse_catalogue
from trimtab.errors import UsageError


def problems_of(document: str) -> list[str]:
    """Return each problem that the loader reports, without the file's name."""
    with pytest.raises(UsageError) as caught:
        parse_catalogue(document)
    assert caught.value.exit_code == 2
    lines = [line.strip() for line in caught.value.why.splitlines() if line.strip()]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    assert caught.value.what == f"trimtab.yaml has {count}"
    return [line.removeprefix("trimtab.yaml:") for line in lines]


def line_of(document: str, words: str) -> int:
    return 1 + next(index for index, line in enumerate(document.splitlines()) if words in line)


def test_a_sound_catalogue_is_read_whole() -> None:
    loaded = parse_catalogue(TEXT)
    assert loaded.services["gulls"].memory == 256 * 2**20
    assert loaded.services["gulls"].variants["cpu"].size_over_base == 10_000_000
    assert loaded.services["gulls"].start == 20.0
    assert dict(loaded.services["gulls"].golden.expect) == {"gull": 1}
    assert loaded.jobs["tides"].results == "results/tides/"
    assert loaded.bucket_name("prod") == "harbour-charts-prod"


def test_what_is_left_out_is_completed() -> None:
    assert (catalogue().bucket.old_versions_days, catalogue().bucket.broken_uploads_days) == (30, 7)


def test_this_repositorys_own_catalogue_is_sound(root: Path) -> None:
    assert load_catalogue(root / "trimtab.yaml").services


def test_nothing_in_a_catalogue_can_be_changed() -> None:
    loaded = catalogue()
    with pytest.raises(pydantic.ValidationError):
        loaded.project = "other"
    with pytest.raises(pydantic.ValidationError):
        loaded.services["gulls"].port = 1
    with pytest.raises(TypeError):
        loaded.services["new"] = loaded.services["gulls"]  # type: ignore[index]
    with pytest.raises(TypeError):
        loaded.services["gulls"].golden.expect["gull"] = 2  # type: ignore[index]


def test_every_problem_is_reported_at_once_with_its_line_and_path() -> None:
    document = (
        TEXT.replace("port: 9001", "prot: 9001")
        .replace("memory: 1GiB", "memory: 1 gigabyte")
        .replace("results: results/tides/", "results: results/tides")
        .replace("  region: eu-north-1", "  region: Stockholm")
        .replace("  usd: 0", "")
        .replace("owner: pilots", "owner: pilots\nowner: again")
    )
    at = {words: line_of(document, words) for words in ("prot:", "1 gigabyte", "results:", "region:", "owner: again")}
    services, budgets = line_of(document, "  gulls:"), line_of(document, "budgets:")
    assert problems_of(document) == [
        f"{at['owner: again']}: owner: stands twice",
        f"{at['region:']}: aws.region: 'Stockholm' does not match ^[a-z]{{2}}(-[a-z]+)+-\\d$",
        f"{services}: services.gulls.port: is missing",
        f"{at['prot:']}: services.gulls.prot: unknown key; did you mean 'port'?",
        (
            f"{at['results:']}: jobs.tides.results: must end in '/' ('results/tides/'): "
            "a prefix without it also matches its namesakes"
        ),
        (
            f"{at['1 gigabyte']}: jobs.tides.memory: '1 gigabyte' is not a size such as 20GiB "
            "(units: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)"
        ),
        f"{budgets}: budgets.usd: is missing",
    ]


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("budgts", "budgets"),
        ("aws__regoin", "region"),
        ("services__gulls__varaints", "variants"),
        ("services__gulls__golden__expected", "expect"),
        ("services__gulls__variants__cpu__size-over-base", "size_over_base"),
        ("jobs__tides__result", "results"),
        ("bucket__old_version_days", "old_versions_days"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(path: str, nearest: str) -> None:
    (problem,) = problems_of(text(**{path: "x"}))
    assert problem.endswith(f"{path.replace('__', '.')}: unknown key; did you mean {nearest!r}?")


def test_an_unknown_key_like_no_other_lists_the_known_ones() -> None:
    (problem,) = problems_of(text(modal__zzz=1))
    assert problem.endswith("modal.zzz: unknown key; known here: workspace, environment, app, session, provider_arn")


@pytest.mark.parametrize(
    "path", ["owner", "aws", "bucket__models", "services__gulls__golden__post", "jobs__tides__time"]
)
def test_a_missing_key_is_named(path: str) -> None:
    (problem,) = problems_of(text(**{path: None}))
    assert problem.endswith(f"{path.replace('__', '.')}: is missing")


@pytest.mark.parametrize("document", ["", "# nothing yet\n", "null\n"])
def test_an_empty_file_says_what_belongs_into_it(document: str) -> None:
    (problem,) = problems_of(document)
    assert problem.startswith("1: the file: must be a section with the keys project, owner, aws,")
    assert problem.endswith("(it is empty)")


@pytest.mark.parametrize("document", ["hello\n", "[1, 2]\n", "42\n", "- project: x\n"])
def test_a_file_that_is_no_mapping_is_refused(document: str) -> None:
    (problem,) = problems_of(document)
    assert problem.startswith("1: the file: must be a section with the keys project, owner,")


@pytest.mark.parametrize(("path", "value"), [("aws", "eu-north-1"), ("services__gulls", [1]), ("budgets", 3)])
def test_a_section_that_is_a_value_says_which_keys_it_has(path: str, value: Any) -> None:
    (problem,) = problems_of(text(**{path: value}))
    assert f"{path.replace('__', '.')}: must be a section with the keys " in problem


def test_a_section_that_was_left_empty_is_reported() -> None:
    document = TEXT.replace("  region: eu-north-1\n", "")
    assert problems_of(document) == ["3: aws: must be a section with the keys region, monthly_budget (it is empty)"]


def test_a_key_that_stands_twice_is_refused_at_its_second_line() -> None:
    document = TEXT + "  disk: 1GiB\n"
    assert problems_of(document) == [f"{len(document.splitlines())}: budgets.disk: stands twice"]


def test_a_key_that_stands_twice_in_a_nested_section_is_refused() -> None:
    document = TEXT.replace("cpu: { size_over_base: 10MB }", "cpu: { size_over_base: 10MB, size_over_base: 1MB }")
    (problem,) = problems_of(document)
    assert problem.endswith("services.gulls.variants.cpu.size_over_base: stands twice")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (TEXT.replace("owner: pilots", "owner: &who pilots") + "more: *who\n", "more"),
        (TEXT + "more: [&who a, *who]\n", "more.1"),
        (TEXT + "more: &who [*who]\n", "more.0"),
        (TEXT + "more: &who {again: *who}\n", "more.again"),
    ],
    ids=["of a value", "in a list", "of itself in a list", "of itself"],
)
def test_an_alias_is_refused(document: str, place: str) -> None:
    (problem,) = problems_of(document)
    assert problem.endswith(f"{place}: is an alias; write the value out")


def test_a_merge_is_refused() -> None:
    (problem,) = problems_of(TEXT + "less:\n  <<: {a: b}\n")
    assert "less: has a key that is not plain text" in problem


def test_aliases_that_multiply_are_refused_before_they_are_followed() -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 60)]
    started = time.monotonic()
    problems = problems_of("a0: &a0 [x]\n" + "".join(levels))
    assert all(problem.endswith("is an alias; write the value out") for problem in problems)
    assert time.monotonic() - started < 2


def test_a_list_as_a_key_is_refused() -> None:
    (problem,) = problems_of(TEXT + "more:\n  ? [a, b]\n  : c\n")
    assert "more: has a key that is not plain text" in problem


def test_nesting_too_deep_for_a_reader_is_refused() -> None:
    (problem,) = problems_of(TEXT + "more: " + "{a: " * 30 + "1" + "}" * 30 + "\n")
    assert problem.endswith("is nested too deeply")


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("a: [1, 2\n", "expected ',' or ']'"),
        ("project: x\n\taws: y\n", "'\\t' that cannot start any token"),
        (TEXT + "---\n" + TEXT, "expected a single document"),
        ("project: \0\n", "special characters are not allowed"),
        ("project: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("[" * 5000, "recursion"),
        ("project: *nobody\n", "undefined alias"),
        ("when: 2026-99-99\n", "month must be in 1..12"),
    ],
    ids=["cut off", "tab", "two documents", "NUL", "a tag that would run a program", "deep", "no anchor", "no date"],
)  # fmt: skip
def test_what_is_not_yaml_is_refused_with_the_cause(document: str, why: str) -> None:
    with pytest.raises(UsageError, match=r"trimtab\.yaml is not YAML") as caught:
        parse_catalogue(document)
    assert why in caught.value.why


def test_a_file_that_is_not_there_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        load_catalogue(tmp_path / "trimtab.yaml")
    assert caught.value.why == "No such file or directory"
    assert "--catalogue PATH" in caught.value.remedy


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        load_catalogue(tmp_path)
    assert caught.value.why == "Is a directory"


def test_a_file_over_a_megabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "trimtab.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 2**30)  # sparse: it takes no room, and would take for ever to read
    started = time.monotonic()
    with pytest.raises(UsageError, match="is too large"):
        load_catalogue(path)
    assert time.monotonic() - started < 2


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trimtab.yaml"
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(UsageError, match="is not text") as caught:
        load_catalogue(path)
    assert caught.value.remedy == "save it as UTF-8"


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "trimtab.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load_catalogue(path) == parse_catalogue(TEXT)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("services__gulls__port", "9001", "valid integer"),
        ("services__gulls__port", True, "valid integer"),
        ("services__gulls__port", 80, "greater than or equal to 1024"),
        ("services__gulls__port", 70000, "less than or equal to 65535"),
        ("services__gulls__memory", 268435456, "must be a size with its unit, such as 20GiB or 220MB"),
        ("services__gulls__memory", "0B", "must be at least 6MiB"),
        ("services__gulls__start", 20, "must be a duration with its unit, such as 10min or 24h"),
        ("services__gulls__start", "20", "'20' is not a duration"),
        ("services__gulls__variants", {}, "at least 1 item"),
        ("services__gulls__variants", {"tpu": {"size_over_base": "1MB"}}, "'tpu' does not match"),
        ("services__gulls__golden__expect", {}, "at least 1 item"),
        ("services__gulls__golden__expect", {"gull": "1"}, "valid integer"),
        ("services__gulls__golden__expect", {"gull": -1}, "greater than or equal to 0"),
        ("services__gulls__golden__post", "v1/detect", "does not match"),
        ("services__gulls__golden__post", "/v1/../admin", "does not match"),
        ("services__gulls__golden__picture", "/etc/passwd", "must be a path inside the project"),
        ("services__gulls__golden__picture", "a/../../b", "must be a path inside the project"),
        ("services__gulls__golden__picture", "", "must be a path inside the project"),
        ("services", {}, "at least 1 item"),
        ("services", {"Gulls": plain()["services"]["gulls"]}, "'Gulls' does not match"),
        ("services", {1: plain()["services"]["gulls"]}, "valid string"),
        ("jobs__tides__source", "training/tides", "does not match"),
        ("jobs__tides__source", "os; rm", "does not match"),
        ("jobs__tides__config", "../x.yaml", "must be a path inside the project"),
        ("jobs__tides__data", "datasets//tides/", "must be a plain prefix"),
        ("jobs__tides__data", "/datasets/", "must be a plain prefix"),
        ("jobs__tides__data", "datasets/../results/", "must be a plain prefix"),
        ("jobs__tides__data", "datasets/*/", "may hold letters, digits and"),
        ("jobs__tides__data", "data${aws:username}/", "may hold letters, digits and"),
        ("jobs__tides__data", "/", "must be a plain prefix"),
        ("jobs__tides__data", "", "must end in '/'"),
        ("project", "Harbour", "does not match"),
        ("project", "harbour\n", "does not match"),
        ("project", 12, "valid string"),
        ("owner", "-pilots", "does not match"),
        ("modal__workspace", "harbour", "does not match"),
        ("modal__app", "a b", "does not match"),
        ("base_image", "python:3.11 && true", "does not match"),
        ("bucket__name", "ab", "must have 3 to 56 characters"),
        ("bucket__name", "a" * 57, "must have 3 to 56 characters"),
        ("bucket__name", "harbour.charts", "lower-case letters, digits and inner hyphens"),
        ("bucket__name", "harbour-", "lower-case letters, digits and inner hyphens"),
        ("bucket__name", "xn--harbour", "a part that AWS reserves"),
        ("bucket__name", "harbour-s3alias", "a part that AWS reserves"),
        ("bucket__old_versions_days", 0, "greater than or equal to 1"),
        ("budgets__usd", -1, "greater than or equal to 0"),
        ("budgets__usd", float("inf"), "finite"),
        ("budgets__usd", float("nan"), "finite"),
        ("budgets__usd", "3", "valid number"),
        ("budgets__usd", True, "valid number"),
        ("budgets__disk", "4 gigs", "is not a size"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(path: str, value: Any, says: str) -> None:
    (problem,) = problems_of(text(**{path: value}))
    assert path.replace("__", ".") in problem
    assert says in problem


def test_a_long_wrong_value_is_shown_in_part() -> None:
    (problem,) = problems_of(text(owner=["x" * 5000]))
    assert len(problem) < 200


def test_two_services_cannot_have_one_port() -> None:
    document = plain()
    document["services"]["terns"] = copy.deepcopy(document["services"]["gulls"])
    with pytest.raises(UsageError, match="1 problem") as caught:
        parse_catalogue(text(services=document["services"]))
    assert "services.terns.port: 9001 is already the port of gulls" in caught.value.why


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"jobs__tides__results": "datasets/tides/out/"},
            "jobs.tides.results: 'datasets/tides/out/' overlaps 'datasets/tides/' of jobs.tides.data",
        ),
        ({"jobs__tides__results": "datasets/"}, "jobs.tides.results: 'datasets/' overlaps 'datasets/tides/' of"),
        ({"jobs__tides__results": "models/"}, "jobs.tides.results: 'models/' overlaps 'models/' of bucket.models"),
        ({"jobs__tides__results": "models/new/"}, "'models/new/' overlaps 'models/' of bucket.models"),
    ],
)
def test_a_job_may_write_nothing_that_is_read(changes: dict[str, str], problem: str) -> None:
    (found,) = problems_of(text(**changes))
    assert problem in found
    assert found.endswith("a job may write its own prefix only")


def test_two_jobs_may_not_write_into_each_other() -> None:
    jobs = plain()["jobs"]
    jobs["waves"] = {**jobs["tides"], "results": "results/tides/waves/"}
    (found,) = problems_of(text(jobs=jobs))
    assert "'results/tides/' overlaps 'results/tides/waves/' of jobs.waves.results" in found


def test_two_jobs_may_read_the_same_data() -> None:
    jobs = plain()["jobs"]
    jobs["waves"] = {**jobs["tides"], "results": "results/waves/"}
    assert set(parse_catalogue(text(jobs=jobs)).jobs) == {"tides", "waves"}


def test_prefixes_that_only_begin_alike_do_not_overlap() -> None:
    assert catalogue(jobs__tides__data="results/tides-raw/").jobs["tides"].data == "results/tides-raw/"


KEY = "arn:aws:kms:%s:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bucket__kms_key": KEY % "us-east-1"}, "bucket.kms_key: lies in another region than aws.region (eu-north-1)"),
        ({"bucket__kms_key": "alias/harbour"}, "bucket.kms_key: 'alias/harbour' does not match"),
        (
            {"bucket__access_logs": {"bucket": "harbour-charts-prod", "prefix": "logs/"}},
            "bucket.access_logs.bucket: is the data bucket itself",
        ),
        ({"bucket__cold": {"results": {"after_days": 90, "tier": "GLACIER"}}}, "must end in '/'"),
        (
            {"bucket__cold": {"results/": {"after_days": 7, "tier": "STANDARD_IA"}}},
            "after_days must be 30 or more for STANDARD_IA",
        ),
        ({"modal__session": "13h"}, "modal.session: must be 1h to 12h"),
        ({"github": {"repository": "harbour/charts"}}, "github: name either branch or environment"),
        (
            {"github": {"repository": "harbour/charts", "branch": "main", "environment": "prod"}},
            "github: name either branch or environment",
        ),
        ({"github": {"repository": "harbour/*", "branch": "main"}}, "github.repository: 'harbour/*' does not match"),
        ({"github": {"repository": "harbour/charts", "branch": "*"}}, "github.branch: '*' does not match"),
        ({"registry": {"kind": "ecr", "keep": 1}}, "registry.keep: input should be greater than or equal to 2"),
        ({"registry": {"kind": "plain"}}, "registry: a plain registry needs its address"),
        ({"registry": {"address": "127.0.0.1:5000"}}, "only a plain one has one here"),
        ({"registry": {"kind": "plain", "address": "images"}}, "registry.address: 'images' does not match"),
        ({"registry": {"kind": "plain", "address": "https://images.harbour.org"}}, "registry.address: "),
        ({"aws__monthly_budget": {"usd": 100, "alerts": []}}, "aws.monthly_budget.alerts"),
        (
            {"aws__monthly_budget": {"usd": 100, "alerts": ["a@b.example", "nobody"]}},
            "aws.monthly_budget.alerts.1: 'nobody' does",
        ),
    ],
)
def test_what_aws_or_github_would_refuse_is_refused_here_first(changes: dict[str, Any], problem: str) -> None:
    (found,) = problems_of(text(**changes))
    assert problem in found


@pytest.mark.parametrize("name", ["base", "front"])
def test_a_service_may_not_have_the_name_of_a_shared_image(name: str) -> None:
    (found,) = problems_of(text(services={name: plain()["services"]["gulls"]}))
    assert f"services.{name}: is the name of an image that all services share" in found


def test_the_cloud_side_may_be_said_in_full() -> None:
    loaded = catalogue(
        bucket__kms_key=KEY % "eu-north-1",
        bucket__access_logs={"bucket": "harbour.logs", "prefix": "s3/"},
        bucket__cold={"results/": {"after_days": 30, "tier": "STANDARD_IA"}},
        modal__session="12h",
        github={"repository": "harbour/charts", "branch": "main"},
        registry={"kind": "ecr"},
        aws__monthly_budget={"usd": 100, "alerts": ["pilots@harbour.example"]},
    )
    assert loaded.bucket.cold["results/"].after_days == 30
    assert loaded.modal.session == 12 * 3600


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_and_nothing_else(document: str) -> None:
    with pytest.raises(UsageError):
        parse_catalogue(document)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from(["owner", "aws", "services", "services__gulls__memory", "jobs__tides__data", "budgets"]), _VALUES
)
def test_any_value_in_any_place_is_read_or_refused_and_nothing_else(path: str, value: Any) -> None:
    try:
        loaded = parse_catalogue(text(**{path: value}))
    except UsageError:
        return
    assert loaded.project == "harbour"


def test_a_catalogue_equals_another_read_of_its_text() -> None:
    assert parse_catalogue(TEXT) == parse_catalogue(TEXT)
