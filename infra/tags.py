"""The tags on everything that takes tags: project, stack, owner, and the commit that made it.

The commit stays what it was when the resource was made (`KEEP_COMMIT`, an option of each tagged resource). Followed
at each commit, every preview of a pull request would show every resource as changed, drift would be found wherever
nobody had run `up` since the last commit, and CI would need the right to tag what it may not otherwise touch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from trimtab.catalogue import Catalogue
from trimtab.project import current_commit

KEEP_COMMIT: Final = ["tags.commit"]
"""For `ignore_changes`."""


def tags_of(catalogue: Catalogue, stack: str, *, commit: str = "") -> dict[str, str]:
    """Return the tags of a stack's resources; without a commit (outside of git) there is no tag for it."""
    tags = {"project": catalogue.project, "stack": stack, "owner": catalogue.owner}
    return {**tags, "commit": commit} if commit else tags


def checked_out_commit() -> str:
    """Return the commit of this tree: $TRIMTAB_COMMIT, or what git has checked out; empty outside of git."""
    return os.environ.get("TRIMTAB_COMMIT") or current_commit(Path(__file__).resolve().parent.parent)
