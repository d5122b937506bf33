"""The machines that functions are given on Modal: GPU, cores, memory, disk, time, retries. Nowhere else.

`profiles/NAME.toml` holds one; `python -m deploy.modal.resources` prints them. Touches nothing. What the platform
refuses is known by the page that says so (`trimtab.emulation.modal.limits`), and refused before it is asked.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from modal_proto import api_pb2

from trimtab.emulation.modal.limits import refusals
from trimtab.errors import TrimtabError, UsageError
from trimtab.gpus import GPUS, gpu_memory_config

PROFILES: Final = Path(__file__).resolve().parent / "profiles"
MIB: Final = 1024 * 1024
# https://modal.com/docs/guide/resources: what one container may ask for.
_CORES: Final = (0.125, 64)
_MEMORY_MIB: Final = (128, 344_064)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One machine. `gpu` is one of Modal's names or "", `timeout_s` an attempt's, a `region` of "" anywhere."""

    gpu: str
    gpu_count: int
    cores: float
    memory_mib: int
    disk_mib: int
    timeout_s: int
    retries: int
    region: str

    def options(self) -> dict[str, Any]:
        """Return them as the arguments of Modal's `app.function`; what is left out is Modal's default."""
        gpu = f"{self.gpu}:{self.gpu_count}" if self.gpu and self.gpu_count > 1 else self.gpu
        given = {"gpu": gpu, "ephemeral_disk": self.disk_mib, "region": self.region}
        return {
            "cpu": self.cores,
            "memory": self.memory_mib,
            "timeout": self.timeout_s,
            **{name: value for name, value in given.items() if value},
        }

    @property
    def gpu_bytes(self) -> int:
        """What one of its GPUs holds; 0 without."""
        return gpu_memory_config(self.gpu).memory_bytes if self.gpu else 0


def profile_names(folder: Path = PROFILES) -> tuple[str, ...]:
    """Return the names of all machines."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def profile_of(name: str, *, folder: Path = PROFILES) -> Profile:
    """Return a machine by its name. Raises UsageError with every problem of its file."""
    path = folder / f"{name}.toml"
    known = profile_names(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"there is no machine profile {name!r}",
            why=f"{folder} holds {', '.join(known) or 'none'}",
            remedy=f"did you mean {near[0]!r}?" if near else f"name one of these, or write {path} like its neighbours",
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"the machine profile {name} cannot be read", why=str(error), remedy=f"write {path} like its neighbours"
        ) from error
    problems = _problems(values) or list(_beyond_the_platform(values))
    if problems:
        raise UsageError(f"{path} is wrong", why="; ".join(problems), remedy="mend it; its neighbours have every key")
    return Profile(**{**values, "cores": float(values["cores"])})


def _problems(values: dict[str, Any]) -> list[str]:
    """Return what is unknown, missing, or of another kind than the client takes: it drops a float memory silently."""
    kinds: dict[str, Any] = {"gpu": str, "region": str, "cores": (int, float)}
    known = {field.name: kinds.get(field.name, int) for field in fields(Profile)}
    problems = [f"{name} is unknown" for name in values.keys() - known.keys()]
    problems += [f"{name} is missing" for name in known.keys() - values.keys()]
    problems += [
        f"{name} is {values[name]!r}"
        for name, kind in known.items()
        if name in values and (not isinstance(values[name], kind) or isinstance(values[name], bool))
    ]
    return sorted(problems)


def _beyond_the_platform(values: dict[str, Any]) -> list[str]:
    bounds = {
        "cores": _CORES,
        "memory_mib": _MEMORY_MIB,
        "disk_mib": (0, None),
        "timeout_s": (1, None),
        "retries": (0, None),
        "gpu_count": (1, None) if values["gpu"] else (0, 0),
    }
    outside = [
        f"{name} is {values[name]} and must be {f'{low} or more' if high is None else f'{low} to {high}'}"
        for name, (low, high) in bounds.items()
        if values[name] < low or (high is not None and values[name] > high)
    ]
    if outside:
        return outside
    gpu = api_pb2.GPUConfig(gpu_type=values["gpu"].upper(), count=values["gpu_count"])
    definition = api_pb2.Function(
        timeout_secs=values["timeout_s"],
        retry_policy=api_pb2.FunctionRetryPolicy(retries=values["retries"]),
        resources=api_pb2.Resources(ephemeral_disk_mb=values["disk_mib"], gpu_config=gpu),
    )
    refused = [str(refusal) for refusal in refusals(definition)]
    if not refused and values["gpu"] and values["gpu"] not in GPUS:
        refused = [f"gpu is {values['gpu']!r}, which is another name of one of {', '.join(GPUS)}: its memory is known"]
    return refused


def main(arguments: list[str] | None = None) -> int:
    """Print the machine of every job's training, of every function, every profile, or what GPUs hold."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.modal.resources",
        description="The machines on Modal: of every job's training, or what else is asked for.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--functions", action="store_true", help="of every function, by its name")
    what.add_argument("--profiles", action="store_true", help="all that there are, by name")
    what.add_argument("--gpus", action="store_true", help="what each GPU holds, and a batch to begin with")
    parser.add_argument("--profile", metavar="NAME", help="this one instead of each job's or function's own")
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    options = parser.parse_args(arguments)
    try:
        document = _document(options)
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(document, indent=1)}\n" if options.json else _table(document))
    return 0


def _document(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    from deploy.modal.functions import load_functions, training_function

    if options.gpus:
        return {
            name: {"memory_gb": gpu_memory_config(name).memory_gb, "batch": gpu_memory_config(name).batch}
            for name in GPUS
        }
    if options.profiles:
        return {name: asdict(profile_of(name)) for name in profile_names()}
    functions = load_functions()
    if not options.functions:
        jobs = sorted({function.job for function in functions.values()})
        trained = {job: training_function(functions, job) for job in jobs}
        functions = {job: function for job, function in trained.items() if function is not None}
    return {name: asdict(profile_of(options.profile or function.profile)) for name, function in functions.items()}


def _table(document: dict[str, dict[str, Any]]) -> str:
    columns = ("", *next(iter(document.values())))
    rows = [columns, *((name, *(str(value) for value in values.values())) for name, values in document.items())]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    return "".join("  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() + "\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
