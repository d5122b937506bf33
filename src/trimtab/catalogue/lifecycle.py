"""What happens to objects as they age: the bucket's rules per prefix, and which wishes S3 cannot fulfil. Pure.

S3 has no rule for "everywhere but": where two rules overlap, the fewer days and the cheaper tier win
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-conflicts.html). So the rule for the whole bucket
keeps the longest that anybody asks for, and each prefix that the catalogue names shortens it where it must. A prefix
that nobody names keeps its old versions longest: a mistake costs storage, never data.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from trimtab.catalogue.model import Catalogue

Problem = tuple[tuple[str, ...], str]

ARCHIVES: Final = ("GLACIER", "DEEP_ARCHIVE")
"""The tiers whose objects cannot be read before they are restored."""


def old_version_rules(catalogue: Catalogue) -> tuple[tuple[str, int], ...]:
    """Return (prefix, days) for each rule on old versions; the first is the whole bucket's, with the empty prefix."""
    rules = [("", max((catalogue.bucket.old_versions_days, *catalogue.bucket.old_versions.values())))]
    for prefix in sorted(_named(catalogue)):
        days = _wanted_days(catalogue, prefix)
        if days < min(above for outer, above in rules if prefix.startswith(outer)):
            rules.append((prefix, days))
    return tuple(rules)


def lifecycle_problems(catalogue: Catalogue) -> Iterator[Problem]:
    """Yield (path, problem) for each wish that another one would overrule."""
    rules = old_version_rules(catalogue)
    for prefix, days in catalogue.bucket.old_versions.items():
        for outer, fewer in rules:
            if prefix.startswith(outer) and fewer < days:
                yield (
                    ("bucket", "old_versions", prefix),
                    (
                        f"would keep {days} days, but lies in {outer!r}, which keeps {fewer}: S3 lets the fewer win. "
                        f"Give {outer!r} {days} days or more"
                    ),
                )
    cold = catalogue.bucket.cold
    for first, second in combinations(sorted(cold), 2):
        if second.startswith(first):
            yield ("bucket", "cold", second), f"lies in {first!r}, which has a tier too: S3 lets the cheaper one win"
    read = {"bucket.models": catalogue.bucket.models}
    read |= {f"jobs.{name}.data": job.data for name, job in catalogue.jobs.items()}
    for prefix, rule in cold.items():
        for place, used in read.items():
            if rule.tier in ARCHIVES and (prefix.startswith(used) or used.startswith(prefix)):
                yield (
                    ("bucket", "cold", prefix),
                    f"would move {used!r} of {place} to {rule.tier}, where nothing can be read before it is restored",
                )


def _named(catalogue: Catalogue) -> set[str]:
    jobs = {prefix for job in catalogue.jobs.values() for prefix in (job.data, job.results)}
    return {catalogue.bucket.models, *jobs, *catalogue.bucket.old_versions}


def _wanted_days(catalogue: Catalogue, prefix: str) -> int:
    """Return the days of the narrowest exception that a prefix lies in, else the bucket's own."""
    around = [outer for outer in catalogue.bucket.old_versions if prefix.startswith(outer)]
    return catalogue.bucket.old_versions[max(around, key=len)] if around else catalogue.bucket.old_versions_days
