"""What each job is given on Modal: GPU, cores, memory, disk, time, retries. Written here and nowhere else.

`profiles/JOB.toml` holds one job's; `python -m deploy.modal.resources --json` prints all. Touches nothing.
Limits: https://modal.com/docs/guide/timeouts, /retries and /gpu.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from trimtab.errors import TrimtabError, UsageError

PROFILES: Final = Path(__file__).resolve().parent / "profiles"
MAX_TIMEOUT_S: Final = 24 * 3600
MAX_RETRIES: Final = 10
MAX_DISK_MIB: Final = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One job's resources. `gpu` is one of Modal's names or "", `timeout_s` an attempt's, a `region` of "" anywhere."""

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


def profile_of(job: str, *, folder: Path = PROFILES) -> Profile:
    """Return a job's resources. Raises UsageError with every problem of its file."""
    path = folder / f"{job}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"the resources of job {job} cannot be read", why=str(error), remedy=f"write {path} like its neighbours"
        ) from error
    problems = list(_problems(values))
    if problems:
        raise UsageError(f"{path} is wrong", why="; ".join(problems), remedy="mend it; its neighbours have every key")
    return Profile(**{**values, "cores": float(values["cores"])})


def _problems(values: dict[str, Any]) -> list[str]:
    kinds: dict[str, Any] = {"gpu": str, "region": str, "cores": (int, float)}
    known = {field.name: kinds.get(field.name, int) for field in fields(Profile)}
    problems = [f"{name} is unknown" for name in values.keys() - known.keys()]
    problems += [f"{name} is missing" for name in known.keys() - values.keys()]
    problems += [
        f"{name} is {values[name]!r}"
        for name, kind in known.items()
        if name in values and (not isinstance(values[name], kind) or isinstance(values[name], bool))
    ]
    if problems:
        return sorted(problems)
    bounds = {
        "cores": (0.125, 64),
        "memory_mib": (128, 344_064),
        "disk_mib": (0, MAX_DISK_MIB),
        "timeout_s": (1, MAX_TIMEOUT_S),
        "retries": (0, MAX_RETRIES),
        "gpu_count": (1 if values["gpu"] else 0, 8 if values["gpu"] else 0),
    }
    return [
        f"{name} is {values[name]} and must be {low} to {high}"
        for name, (low, high) in bounds.items()
        if not low <= values[name] <= high
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the resources of every job."""
    parser = argparse.ArgumentParser(prog="python -m deploy.modal.resources", description="The resources of all jobs.")
    parser.add_argument("--json", action="store_true", required=True, help="as one JSON document")
    parser.parse_args(arguments)
    try:
        profiles = {path.stem: asdict(profile_of(path.stem)) for path in sorted(PROFILES.glob("*.toml"))}
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(profiles, indent=1)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
