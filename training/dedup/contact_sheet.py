"""The page to look through: copies side by side, those across splits first. One file that loads nothing else.

Reads the pictures again for their thumbnails, which carry no metadata. Names come from strangers: the template escapes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from training.dedup.contact_sheet_page import PAGE
from training.dedup.frequencies import NAME
from training.dedup.skips import UnusableError, counted
from trimtab.units import format_size

if TYPE_CHECKING:
    from concurrent.futures import Future

    from training.dedup.decoders import Decoders
    from training.dedup.keeping import Cluster
    from training.dedup.reports import Report

_SKIPS_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """One picture on the page; `picture` is a data URI, or None where it could not be read again."""

    path: str
    split: str | None
    size: str
    cosine: float | None
    picture: str | None


def contact_sheet(report: Report, decoders: Decoders) -> bytes:
    """Return the page as HTML."""
    limits = report.config.contact_sheet
    shown = report.clusters[: limits.clusters]

    def begin(index: int) -> tuple[int, Future[bytes]]:
        path = report.survey.directory / report.files.paths[index]
        return index, decoders.thumbnail(path, report.sha256(index), limits.thumbnail)

    begun = [
        (cluster, [begin(index) for index in (cluster.keep, *cluster.remove)[: limits.pictures]]) for cluster in shown
    ]
    cards = [_card(report, cluster, [(index, _drawn(small)) for index, small in row]) for cluster, row in begun]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["size"] = format_size
    page = environment.from_string(PAGE).render(
        report=report,
        outcome=report.outcome,
        leaking=sum(cluster.leaks for cluster in report.outcome.clusters),
        cards=cards,
        hidden=len(report.outcome.clusters) - len(shown),
        most=max(item.removed for item in report.sweep),
        untrained=report.survey.recipe.name == NAME,
        skipped=counted(report.skips),
        skips=report.skips[:_SKIPS_SHOWN],
    )
    return page.encode()


def _drawn(small: Future[bytes]) -> str | None:
    try:
        return f"data:image/jpeg;base64,{base64.b64encode(small.result()).decode('ascii')}"
    except UnusableError:
        return None


def _card(report: Report, cluster: Cluster, pictures: list[tuple[int, str | None]]) -> dict[str, Any]:
    return {
        "leaks": cluster.leaks,
        "splits": [report.config.pictures.splits[place] for place in cluster.splits],
        "count": 1 + len(cluster.remove),
        "more": 1 + len(cluster.remove) - len(pictures),
        "shown": [
            _Shown(
                path=report.files.paths[index],
                split=report.split_name(index),
                size=" x ".join(map(str, report.files.sizes[index])),
                cosine=None if index == cluster.keep else report.cosine(cluster.keep, index),
                picture=picture,
            )
            for index, picture in pictures
        ],
    }
