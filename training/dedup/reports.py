"""What a run leaves for a program: a few numbers for the record, and the list of what to keep and remove. Pure.

The list holds no times: the same pictures and configuration give the same bytes.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.dedup.keeping import NO_SPLIT
from training.dedup.skips import counted

if TYPE_CHECKING:
    import numpy.typing as npt

    from training.dedup.config import Config
    from training.dedup.keeping import Cluster, Files, Outcome
    from training.dedup.skips import Skip
    from training.dedup.survey import Survey

FORMAT: Final = "trimtab-duplicates/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that there is to tell. `vectors` are by the contents that were compared, of length 1."""

    config: Config
    survey: Survey
    files: Files
    vectors: npt.NDArray[np.float32]
    outcome: Outcome
    sweep: tuple[Outcome, ...]
    skips: tuple[Skip, ...]

    def split_name(self, index: int) -> str | None:
        """Return the name of a file's split, or None."""
        place = int(self.files.splits[index])
        return None if place == NO_SPLIT else self.config.pictures.splits[place]

    def cosine(self, one: int, other: int) -> float:
        """Return the cosine of two files."""
        first, second = (self.vectors[self.files.contents[index]].astype(np.float64) for index in (one, other))
        if self.files.contents[one] == self.files.contents[other]:
            return 1.0
        return min(1.0, float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second))))

    def sha256(self, index: int) -> str:
        """Return the checksum of a file."""
        position = bisect_left(self.survey.paths, self.files.paths[index])
        return self.survey.sha256s[self.survey.content_of[position]]

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """Return the clusters to look at first to last: those across splits, then the largest."""
        return tuple(sorted(self.outcome.clusters, key=lambda item: (not item.leaks, -len(item.remove), item.keep)))


def summary(report: Report) -> dict[str, Any]:
    """Return the numbers for the run's record."""
    outcome = report.outcome
    return {
        "pictures": len(report.files.paths),
        "different": report.files.content_count,
        "leaking_clusters": sum(cluster.leaks for cluster in outcome.clusters),
        "leaks": _leaks(report),
        "pairs": outcome.pairs,
        "clusters": len(outcome.clusters),
        "largest_cluster": max((1 + len(cluster.remove) for cluster in outcome.clusters), default=0),
        "remove": outcome.removed,
        "remove_bytes": outcome.removed_bytes,
        "threshold": outcome.threshold,
        "link": report.config.matching.link,
        "encoder": report.survey.recipe.name,
        "sweep": [sweep_row(item) for item in report.sweep],
        "skipped": counted(report.skips),
        "not_pictures_by_name": report.survey.others,
    }


def sweep_row(outcome: Outcome) -> dict[str, Any]:
    """Return what a threshold leads to, in numbers."""
    return {
        "threshold": outcome.threshold,
        "pairs": outcome.pairs,
        "clusters": len(outcome.clusters),
        "leaking_clusters": sum(cluster.leaks for cluster in outcome.clusters),
        "remove": outcome.removed,
        "remove_bytes": outcome.removed_bytes,
    }


def duplicates_json(report: Report) -> bytes:
    """Return the list of what to keep and remove; copies across splits come first."""
    removed = {index for cluster in report.outcome.clusters for index in cluster.remove}
    paths = report.files.paths
    document = {
        "format": FORMAT,
        "threshold": report.outcome.threshold,
        "link": report.config.matching.link,
        "encoder": {"name": report.survey.recipe.name, "key": report.survey.recipe.key},
        "leaks": _leaks(report),
        "clusters": [_cluster(report, cluster) for cluster in report.clusters],
        "keep": [path for index, path in enumerate(paths) if index not in removed],
        "remove": [path for index, path in enumerate(paths) if index in removed],
        "skipped": [skip.as_json() for skip in report.skips],
        "sweep": [sweep_row(item) for item in report.sweep],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _leaks(report: Report) -> list[dict[str, Any]]:
    return [
        {"split": leak.split, "other": leak.other, "before": leak.before, "after": leak.after}
        for leak in report.outcome.leaks
    ]


def _cluster(report: Report, cluster: Cluster) -> dict[str, Any]:
    splits = [report.config.pictures.splits[place] for place in cluster.splits]
    keep = _file(report, cluster.keep)
    remove = [
        {**_file(report, index), "cosine": round(report.cosine(cluster.keep, index), 6)} for index in cluster.remove
    ]
    return {"splits": splits, "keep": keep, "remove": remove}


def _file(report: Report, index: int) -> dict[str, Any]:
    width, height = report.files.sizes[index]
    return {
        "path": report.files.paths[index],
        "split": report.split_name(index),
        "width": width,
        "height": height,
        "size_bytes": report.files.sizes_bytes[index],
        "sha256": report.sha256(index),
    }
