"""What `trimtab images plan` says: one row for each image, the order, and the verdict."""

from __future__ import annotations

from typing import Any

from trimtab.console import Console
from trimtab.executor import rooms
from trimtab.images.build import BASE_SERVICE, image_tag
from trimtab.images.engine import connect_or_none, image_or_none
from trimtab.plan import Plan, Step
from trimtab.project import Project
from trimtab.steps.base import BuildBase
from trimtab.steps.fit import Fit
from trimtab.steps.image import BuildImage
from trimtab.steps.wiring import watched
from trimtab.units import format_duration, format_size


def plan_document(project: Project, whole: Plan, fitted: Fit, *, variant: str) -> dict[str, Any]:
    """Return the plan of images as plain data; sizes that cannot be known before a base is here are null."""
    left = {step.name for step in fitted.left.steps}
    base = next(step for step in whole.steps if isinstance(step.action, BuildBase))
    below = _size(project.catalogue.base_image)
    base_tag = image_tag(project.catalogue.project, BASE_SERVICE, variant)
    return {
        "fits": not fitted.shortages,
        "variant": variant,
        "jobs": fitted.left.jobs,
        "most_jobs": fitted.most_jobs,
        "peak_bytes": fitted.left.peak_bytes,
        "wall_s": fitted.left.wall_s,
        "budget_bytes": project.catalogue.budgets.disk,
        "disks": [
            {"folder": str(folder), "need_bytes": need, "free_bytes": free}
            for folder, need, free in rooms(fitted.left, watched(project))
        ],
        "base": {
            "image": base_tag,
            **_row(base, is_left=base.name in left),
            "over_base_bytes": base.predicted.kept_bytes,
            "size_bytes": _size(base_tag) or _sum(below, base.predicted.kept_bytes),
        },
        "images": [
            _image_row(project, step, step.action, base, is_left=step.name in left, below=below)
            for step in whole.steps
            if isinstance(step.action, BuildImage)
        ],
        "shortages": [shortage.text for shortage in fitted.shortages],
        "options": list(fitted.options(variant=variant)),
    }


def print_plan(console: Console, document: dict[str, Any]) -> None:
    """Print it: the images in the order in which they are built, then the verdict."""
    rows = [
        (
            row["image"],
            "to build" if row["is_left"] else "stands",
            row["basis"],
            "-" if row["size_bytes"] is None else format_size(row["size_bytes"]),
            format_size(row["kept_bytes"]),
            format_size(row["over_base_bytes"]),
            format_size(row["peak_bytes"]),
            format_duration(row["wall_s"]),
        )
        for row in (document["base"], *document["images"])
    ]
    columns = ("image", "state", "by", "size", "adds", "over base", "peak while building", "time")
    console.table("The images, in the order with the lowest peak", columns, rows, right=3)
    side_by_side = f"{document['jobs']} at a time (at most {document['most_jobs']} fit)"
    console.line(
        f"together  {format_size(document['peak_bytes'])} at the peak, of {format_size(document['budget_bytes'])} in"
        f" budgets.disk; {format_duration(document['wall_s'])}; {side_by_side}"
    )
    for disk in document["disks"]:
        console.line(
            f"disk      {disk['folder']}: {format_size(disk['need_bytes'])} of {format_size(disk['free_bytes'])} free"
        )
    console.line("verdict   it fits" if document["fits"] else "verdict   it does NOT fit")


def _image_row(
    project: Project, step: Step, action: BuildImage, base: Step, *, is_left: bool, below: int | None
) -> dict[str, Any]:
    tag = image_tag(project.catalogue.project, action.service, action.variant)
    over_base = base.predicted.kept_bytes + step.predicted.kept_bytes
    if not is_left and below is not None and (size := _size(tag)) is not None:
        over_base = size - below
    return {
        "service": action.service,
        "image": tag,
        **_row(step, is_left=is_left),
        "size_bytes": _sum(below, over_base),
        "over_base_bytes": over_base,
        "size_budget_bytes": project.catalogue.services[action.service].variants[action.variant].size_over_base,
    }


def _row(step: Step, *, is_left: bool) -> dict[str, Any]:
    predicted = step.predicted
    return {
        "is_left": is_left,
        "basis": step.basis,
        "kept_bytes": predicted.kept_bytes,
        "peak_bytes": predicted.peak_bytes,
        "wall_s": predicted.wall_s,
    }


def _size(reference: str) -> int | None:
    client = connect_or_none()
    image = client and image_or_none(client, reference)
    return int(image.attrs["Size"]) if image else None


def _sum(below: int | None, above: int) -> int | None:
    return None if below is None else below + above
