"""The record of a service's releases on one host: what is live, what was before it, what is kept to go back to. Pure.

It lies beside the front, on the host that it is about, so that whoever deploys there next knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from trimtab.errors import UsageError

KEPT_RELEASES: Final = 3
"""How many releases that differ are kept whole, image and models: the live one and those that one can go back to."""
_REMEMBERED: Final = 50
_LEAST_DIGEST: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release: an image by its digest with models by theirs.

    `digest` is the image's id on the host, `reference` its name and digest in a registry, empty where it never was in
    one. `identity` is a digest of all that makes it what it is. `made_at` is UTC, as ISO 8601 has it.
    """

    number: int
    digest: str
    reference: str
    variant: str
    commit: str
    models: Mapping[str, str]
    models_volume: str
    identity: str
    made_at: str
    healthy: bool = False
    withdrawn: bool = False
    why: str = ""

    @property
    def content(self) -> tuple[str, str]:
        """What it is made of, whatever settings it ran with."""
        return (self.digest, self.models_volume)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The releases of a service on a host, oldest first; `live` is the number of the one that serves."""

    live: int | None = None
    releases: tuple[Release, ...] = field(default=())

    @property
    def next_number(self) -> int:
        """The number of the next release, good or bad."""
        return 1 + max((release.number for release in self.releases), default=0)

    @property
    def live_release(self) -> Release | None:
        """The release that serves."""
        return next((release for release in self.releases if release.number == self.live), None)

    @property
    def proven_models(self) -> frozenset[str]:
        """The volumes of models that a release answered rightly with."""
        return frozenset(release.models_volume for release in self.releases if release.healthy)

    def with_live(self, release: Release) -> Record:
        """Return the record in which a release that was found healthy has taken over."""
        return Record(live=release.number, releases=self._and(replace(release, healthy=True)))

    def with_refused(self, release: Release, *, why: str) -> Record:
        """Return the record with one that was refused, and why; what is live stays so."""
        return Record(live=self.live, releases=self._and(replace(release, healthy=False, why=why)))

    def without_live(self) -> Record:
        """Return the record in which the live release is withdrawn: a rollback does not come back to it by itself."""
        releases = tuple(replace(r, withdrawn=True) if r.number == self.live else r for r in self.releases)
        return Record(live=self.live, releases=releases)

    def kept(self) -> tuple[Release, ...]:
        """Return the newest healthy releases that differ, the live one first: what is never cleaned away."""
        found: dict[tuple[str, str], Release] = {}
        for release in sorted(self.releases, key=lambda r: (r.number == self.live, r.number), reverse=True):
            if release.healthy:
                found.setdefault(release.content, release)
        return tuple(found.values())[:KEPT_RELEASES]

    def rollback_target(self, to: str | None) -> Release:
        """Return the release to go back to: the last healthy one that differs, or the one with a digest or number.

        Raises UsageError when there is none.
        """
        live = self.live_release
        others = [r for r in reversed(self.releases) if r.healthy and (live is None or r.content != live.content)]
        if to is None:
            newest = {r.content: r for r in self.releases if r.healthy}  # what was withdrawn later counts for earlier
            found = [r for r in others if not newest[r.content].withdrawn]
        elif to.isdigit() and len(to) < _LEAST_DIGEST:
            found = [r for r in self.releases if r.number == int(to) and r.healthy]
        else:
            found = [r for r in (*others, *((live,) if live else ())) if _has_digest(r, to)]
            if len({r.digest for r in found}) > 1:
                raise UsageError(
                    f"{to} is the beginning of more than one digest",
                    why=f"releases {', '.join(str(r.number) for r in found)} have it",
                    remedy="write more of it, or the release's number",
                )
        if not found:
            raise UsageError(
                "there is no release to go back to" if to is None else f"there is no healthy release {to}",
                why=f"the record holds {self._in_words()}",
                remedy="name another with --to (`trimtab images releases` lists them), or deploy a mended image",
            )
        return found[0]

    def document(self, *, target: str | None) -> dict[str, Any]:
        """Return the record as the front keeps it. `target` is HOST:PORT of the live release's container."""
        live = None if self.live is None else {"number": self.live, "target": target}
        return {"live": live, "releases": [asdict(release) for release in self.releases]}

    def _and(self, release: Release) -> tuple[Release, ...]:
        older = tuple(r for r in self.releases if r.number != release.number)
        return (*older, release)[-_REMEMBERED:]

    def _in_words(self) -> str:
        rows = [
            f"{r.number} ({r.digest.removeprefix('sha256:')[:12]}, {_judgement(r, self.live)})" for r in self.releases
        ]
        return ", ".join(rows) or "none"


def record_of(document: Mapping[str, Any]) -> Record:
    """Return the record that the front keeps."""
    live = document["live"]
    return Record(
        live=None if live is None else int(live["number"]),
        releases=tuple(Release(**release) for release in document["releases"]),
    )


def _has_digest(release: Release, text: str) -> bool:
    wanted = text.rpartition("@")[2].removeprefix("sha256:")
    known = (release.digest, release.reference.rpartition("@")[2])
    return len(wanted) >= _LEAST_DIGEST and any(d.removeprefix("sha256:").startswith(wanted) for d in known if d)


def _judgement(release: Release, live: int | None) -> str:
    if release.number == live:
        return "live"
    return "refused" if not release.healthy else "withdrawn" if release.withdrawn else "healthy"


def judgement(release: Release, record: Record) -> str:
    """Return in one word how a release stands: live, healthy, withdrawn or refused."""
    return _judgement(release, record.live)
