"""What the catalogue refuses of the cloud side beyond single values, and the lifecycle rules that follow from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.catalogues import catalogue, text
from trimtab.catalogue import parse_catalogue
from trimtab.catalogue.lifecycle import old_version_rules
from trimtab.errors import UsageError

GITHUB = {"repository": "harbour/charts", "branch": "main"}
GITHUB_PROVIDER = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
MODAL_PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.modal.com"


def problem_of(**changes: Any) -> str:
    with pytest.raises(UsageError) as refused:
        parse_catalogue(text(**changes))
    return refused.value.why


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"bucket__old_versions": {"a/": 10, "a/b/": 90}},
            "bucket.old_versions.a/b/: would keep 90 days, but lies in 'a/', which keeps 10",
        ),
        (
            {"bucket__old_versions": {"datasets/tides/raw/": 90}},
            (
                "datasets/tides/raw/: would keep 90 days, but lies in 'datasets/tides/', which keeps 30: "
                "S3 lets the fewer win. Give 'datasets/tides/' 90 days or more"
            ),
        ),
        (
            {
                "bucket__cold": {
                    "results/": {"after_days": 90, "tier": "GLACIER"},
                    "results/tides/": {"after_days": 90, "tier": "STANDARD_IA"},
                }
            },
            "bucket.cold.results/tides/: lies in 'results/', which has a tier too",
        ),
        (
            {"bucket__cold": {"models/old/": {"after_days": 90, "tier": "DEEP_ARCHIVE"}}},
            "bucket.cold.models/old/: would move 'models/' of bucket.models to DEEP_ARCHIVE, where nothing can be read",
        ),
        (
            {"bucket__cold": {"datasets/": {"after_days": 90, "tier": "GLACIER"}}},
            "bucket.cold.datasets/: would move 'datasets/tides/' of jobs.tides.data to GLACIER",
        ),
        (
            {"github": {**GITHUB, "state": {"bucket": "harbour-charts-prod", "prefix": "state/"}}},
            "github.state.bucket: is the data bucket itself",
        ),
        ({"bucket__models": "m" * 200 + "/"}, "bucket.models: must have at most 200 characters"),
        ({"github": {**GITHUB, "owner_id": 7}}, "github: name both owner_id and repository_id, or neither"),
        ({"github": {**GITHUB, "owner_id": 7, "repository_id": 0}}, "github.repository_id"),
        (
            {"github": {**GITHUB, "provider_arn": MODAL_PROVIDER}},
            (
                "github.provider_arn: is another issuer's: it must end in "
                "':oidc-provider/token.actions.githubusercontent.com'"
            ),
        ),
        ({"modal__provider_arn": GITHUB_PROVIDER}, "modal.provider_arn: is another issuer's"),
        ({"modal__provider_arn": "arn:aws:iam::123456789012:role/oidc.modal.com"}, "modal.provider_arn"),
    ],
)
def test_what_could_not_be_kept_or_would_do_harm_is_refused_with_its_path(
    changes: dict[str, Any], problem: str
) -> None:
    assert problem in problem_of(**changes)


def test_what_is_read_may_go_to_a_tier_that_can_be_read_and_results_to_any() -> None:
    loaded = catalogue(
        bucket__cold={
            "datasets/tides/": {"after_days": 90, "tier": "GLACIER_IR"},
            "results/": {"after_days": 180, "tier": "DEEP_ARCHIVE"},
        }
    )
    assert loaded.bucket.cold["results/"].tier == "DEEP_ARCHIVE"


def test_providers_that_are_there_already_and_github_s_numbers_are_taken() -> None:
    loaded = catalogue(
        modal__provider_arn=MODAL_PROVIDER,
        github={**GITHUB, "owner_id": 123456, "repository_id": 456789, "provider_arn": GITHUB_PROVIDER},
    )
    assert loaded.modal.provider_arn == MODAL_PROVIDER
    assert loaded.github is not None
    assert (loaded.github.owner_id, loaded.github.repository_id) == (123456, 456789)


def test_without_exceptions_one_rule_covers_the_whole_bucket() -> None:
    assert old_version_rules(catalogue()) == (("", 30),)


def test_a_prefix_that_keeps_less_than_the_bucket_has_a_rule_of_its_own() -> None:
    loaded = catalogue(bucket__old_versions={"results/tides/logs/": 3})
    assert old_version_rules(loaded) == (("", 30), ("results/tides/logs/", 3))


def test_a_prefix_that_keeps_more_lengthens_the_bucket_s_rule_and_all_others_are_shortened() -> None:
    loaded = catalogue(bucket__old_versions={"models/": 365})
    assert old_version_rules(loaded) == (("", 365), ("datasets/tides/", 30), ("results/tides/", 30))


_PREFIXES = (
    "models/",
    "datasets/",
    "datasets/tides/",
    "datasets/tides/raw/",
    "results/",
    "results/tides/",
    "elsewhere/",
)


@given(st.dictionaries(st.sampled_from(_PREFIXES), st.integers(min_value=1, max_value=60)))
def test_whatever_is_accepted_is_kept_for_exactly_the_days_that_were_asked_for(asked: dict[str, int]) -> None:
    """S3 takes the fewest days of all rules that cover an object."""
    try:
        loaded = catalogue(bucket__old_versions=asked)
    except UsageError:
        return
    rules = old_version_rules(loaded)
    for prefix, days in {"models/": 30, "datasets/tides/": 30, "results/tides/": 30, **asked}.items():
        around = [outer for outer in asked if prefix.startswith(outer)]
        wanted = asked[max(around, key=len)] if around else days
        assert min(kept for outer, kept in rules if prefix.startswith(outer)) == wanted
