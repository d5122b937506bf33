"""Every workflow of a catalogue: `render` returns the files' text, `differences` what a folder has instead. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from trimtab.catalogue import Catalogue
from workflows.ci import ci
from workflows.docker_deploy import docker_deploy
from workflows.infra import infra
from workflows.modal_train import modal_train
from workflows.sequential_deploy import sequential_deploy
from workflows.yaml_text import yaml_text

FOLDER: Final = ".github/workflows"
HEADER: Final = "Rendered from trimtab.yaml by `python -m workflows`. DO NOT EDIT: edit {source}, then render it anew."
_WORKFLOWS: Final = {
    "ci": ci,
    "docker-deploy": docker_deploy,
    "infra": infra,
    "modal-train": modal_train,
    "sequential-deploy": sequential_deploy,
}


def render(catalogue: Catalogue) -> dict[str, str]:
    """Return {path below the root: text} for every workflow."""
    return {
        f"{FOLDER}/{name}.yml": yaml_text(
            make(catalogue), header=HEADER.format(source=f"workflows/{make.__module__.rpartition('.')[2]}.py")
        )
        for name, make in _WORKFLOWS.items()
    }


def differences(rendered: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    """Yield a unified diff for each file that is not what is rendered; one that nobody renders counts as well."""
    for path in sorted({*rendered, *found}):
        there, wanted = found.get(path, ""), rendered.get(path, "")
        if (path in found) != (path in rendered) or there != wanted:
            lines = difflib.unified_diff(
                there.splitlines(), wanted.splitlines(), f"{path} (is)", f"{path} (rendered)", lineterm=""
            )
            yield "\n".join(lines) or f"{path}: {'is empty' if path in rendered else 'nobody renders it'}"
