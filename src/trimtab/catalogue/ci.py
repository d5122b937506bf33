"""The catalogue's CI side: on which machines GitHub runs the workflows that are rendered from it. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from trimtab.catalogue.section import Section

RunnerLabel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Ci(Section):
    """Where workflows run (`python -m workflows` renders them)."""

    runner: RunnerLabel = "ubuntu-24.04"
    """The label of the machines: one of GitHub's own, or of yours (`self-hosted`)."""
    shares_disk: bool = False
    """Jobs of this runner stand on one disk, as on a machine of your own: images are then built one after the other."""
