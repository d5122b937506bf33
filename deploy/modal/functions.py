"""The functions of the app: what each one runs, on which machine, with which mounts. Reads `jobs/JOB/FUNCTION.toml`.

A folder of `jobs/` is a job of the catalogue, a file in it one function on Modal by the file's name. Nothing of it is
there in a container. What a machine is stands in `profiles/`; whether a function fits one is decided in `fit.py`.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

from trimtab.errors import UsageError

JOBS: Final = Path(__file__).resolve().parent / "jobs"

Runs = Literal["train", "evaluate", "populate", "check"]
Packages = Literal["cpu", "cuda", "mamba"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function on Modal. Mount points are "" where the function has no use for what is mounted."""

    name: str
    job: str
    runs: Runs
    """Which function of `attempts.py` it is."""
    action: str
    """The word that launches it; by default its name."""
    profile: str
    """The machine, where a launch names no other; by default the one of its own name."""
    packages: Packages
    """What its image holds besides the job's packages, where the machine has a GPU."""
    config: str = ""
    """Its configuration, where a launch names no other; "": the catalogue's for the job."""
    data: str = ""
    """Where the job's data prefix is mounted, read-only."""
    results: str = ""
    """Where the Volume of results is mounted."""
    backup: str = ""
    """Where the job's results prefix is mounted, to be written."""
    containers: int = 1
    """How many work side by side on one call."""
    workers_key: str = ""
    """The configuration's key that says how many processes load data."""
    worker_cores: int = 4
    """Cores that such a process needs: so many for one that keeps a training fed, as the trainings before found."""
    batch_key: str = ""
    """The configuration's key that says how many items a step learns from."""
    pieces_key: str = ""
    """The configuration's key that says in how many pieces they go through the GPU; "": in one."""
    main_mib: int = 0
    """Memory of the function's own process."""
    worker_mib: int = 0
    """Memory of a process that loads data, with what it has read ahead."""
    fixed_mib: int = 0
    """The GPU's memory that is taken whatever the batch: context, weights, optimiser."""
    item_mib: int = 0
    """The GPU's memory that each item of a batch takes, forth and back."""


_BY_PLACE: Final = frozenset({"name", "job"})


def load_functions(folder: Path = JOBS) -> dict[str, Function]:
    """Return every function by its name. Raises UsageError with every problem of the first file that has any."""
    found = [_read(path) for path in sorted(folder.glob("*/*.toml"))]
    names = [function.name for function in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"{', '.join(twice)} is there twice",
            why=f"two folders of {folder} hold it, and a function's name is its file's",
            remedy="give one of them another name",
        )
    return {function.name: function for function in found}


def training_function(functions: dict[str, Function], job: str) -> Function | None:
    """Return the function that trains a job: of its own name, or `train`; None when there is none."""
    mine = {name: function for name, function in functions.items() if function.job == job and function.runs == "train"}
    return mine.get(job) or mine.get("train")


def _read(path: Path) -> Function:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"the function {path.stem} cannot be read", why=str(error), remedy=f"write {path} like its neighbours"
        ) from error
    word = path.stem.replace("_", "-")
    values = {"action": word, "profile": word, **values}
    if problems := sorted(_problems(values)):
        raise UsageError(
            f"{path} is wrong", why="; ".join(problems), remedy="mend it as deploy/modal/functions.py says"
        )
    return Function(name=path.stem, job=path.parent.name, **values)


def _problems(values: dict[str, Any]) -> list[str]:
    hints = get_type_hints(Function)
    known = {field.name: field for field in fields(Function) if field.name not in _BY_PLACE}
    problems = [f"{name} is unknown" for name in values.keys() - known.keys()]
    problems += [f"{name} is missing" for name in known.keys() - values.keys() if known[name].default is MISSING]
    for name in values.keys() & known.keys():
        value, kind = values[name], hints[name]
        choices = get_args(kind)
        if choices and value not in choices:
            problems.append(f"{name} is {value!r} and must be one of {', '.join(choices)}")
        elif not choices and type(value) is not kind:
            problems.append(f"{name} is {value!r} and must be {'a text' if kind is str else 'a whole number'}")
        elif kind is int and value < 0:
            problems.append(f"{name} is {value} and must not be negative")
    return problems
