"""The rules that span the catalogue's sections: ports, prefixes that must not overlap, regions, lifecycles. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from trimtab.catalogue.lifecycle import Problem, lifecycle_problems
from trimtab.catalogue.model import GITHUB_HOST, MODAL_HOST, STACKS, Catalogue

_SHARED_IMAGES: Final = frozenset({"base", "front"})


def cross_problems(catalogue: Catalogue) -> Iterator[Problem]:
    """Yield (path, problem) for each rule that is broken."""
    ports: dict[int, str] = {}
    for name, service in catalogue.services.items():
        if service.port in ports:
            yield ("services", name, "port"), f"{service.port} is already the port of {ports[service.port]}"
        ports.setdefault(service.port, name)
        if name in _SHARED_IMAGES:
            yield ("services", name), "is the name of an image that all services share: choose another one"
    yield from _overlaps(catalogue)
    yield from _bucket_problems(catalogue)
    yield from lifecycle_problems(catalogue)
    yield from _provider_problems(catalogue)


def _overlaps(catalogue: Catalogue) -> Iterator[Problem]:
    written = [(("jobs", name, "results"), job.results) for name, job in catalogue.jobs.items()]
    read = [(("jobs", name, "data"), job.data) for name, job in catalogue.jobs.items()]
    models = (("bucket", "models"), catalogue.bucket.models)
    pairs = [*combinations(written, 2), *((w, r) for w in written for r in (*read, models))]
    for (path, prefix), (other_path, other) in pairs:
        if prefix.startswith(other) or other.startswith(prefix):
            yield path, f"{prefix!r} overlaps {other!r} of {'.'.join(other_path)}: a job may write its own prefix only"


def _bucket_problems(catalogue: Catalogue) -> Iterator[Problem]:
    bucket = catalogue.bucket
    if bucket.kms_key is not None and bucket.kms_key.split(":")[3] != catalogue.aws.region:
        yield ("bucket", "kms_key"), f"lies in another region than aws.region ({catalogue.aws.region}): S3 refuses it"
    ours = {catalogue.bucket_name(stack) for stack in STACKS}
    if bucket.access_logs is not None and bucket.access_logs.bucket in ours:
        yield ("bucket", "access_logs", "bucket"), "is the data bucket itself: each log would cause another log"
    state = catalogue.github.state if catalogue.github else None
    if state is not None and state.bucket in ours:
        yield ("github", "state", "bucket"), "is the data bucket itself: what makes the bucket cannot lie in it"


def _provider_problems(catalogue: Catalogue) -> Iterator[Problem]:
    for section, host in (("modal", MODAL_HOST), ("github", GITHUB_HOST)):
        arn = getattr(getattr(catalogue, section), "provider_arn", None)
        if arn is not None and arn.partition("/")[2] != host:
            yield (section, "provider_arn"), f"is another issuer's: it must end in ':oidc-provider/{host}'"
