"""What is to be launched, on which machine, with which configuration: from the words of a launch, and refused if wrong.

Reads the configuration's file. Is not used in a container.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml

from deploy.modal.fit import require_fit
from deploy.modal.functions import Function
from deploy.modal.launch import Launch
from deploy.modal.resources import Profile, profile_of
from trimtab.catalogue import Catalogue, Job
from trimtab.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One launch, known to be right and to fit its machine."""

    words: Launch
    function: Function
    machine: str
    profile: Profile
    path: Path
    config: str
    """The configuration's text; empty for a function that takes none."""

    @classmethod
    def of(cls, root: Path, catalogue: Catalogue, functions: Mapping[str, Function], words: Launch, named: str) -> Self:
        """Read it. Raises UsageError for what means nothing, BudgetError for a machine that does not fit."""
        function = words.function(functions, named=named)
        machine = words.profile or function.profile
        profile = profile_of(machine)
        config = ""
        given = words.config or words.config_path
        file = (Path(given) if given else root / (function.config or job_of(catalogue, function).config)).absolute()
        if function.runs != "check":
            config = _config_text(function, file)
            require_fit(function, machine, profile, yaml.safe_load(config), given or str(file.relative_to(root)))
        else:
            require_fit(function, machine, profile, {}, "no configuration")
        return cls(words=words, function=function, machine=machine, profile=profile, path=file, config=config)


def job_of(catalogue: Catalogue, function: Function) -> Job:
    """Return the catalogue's job that a function is of. Raises UsageError when there is none."""
    job = catalogue.jobs.get(function.job)
    if job is None:
        raise UsageError(
            f"function {function.name} is of job {function.job}, which the catalogue does not have",
            why=f"trimtab.yaml lists {', '.join(catalogue.jobs)}",
            remedy=f"add it under jobs, or take deploy/modal/jobs/{function.job}/ away",
        )
    return job


def _config_text(function: Function, file: Path) -> str:
    """Return a configuration, once it is known to be right. Raises UsageError."""
    from training.harness.config import load_config

    load_config(file, importlib.import_module(f"training.{function.job}.config").Config)
    return file.read_text(encoding="utf-8")
