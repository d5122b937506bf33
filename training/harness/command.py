"""The command line of a job: arguments to paths, signals to a stop, errors to three parts and an exit code.

    python -m training.JOB --config FILE --data DIR --results DIR
                           [--run-id ID] [--resume] [--commit SHA] [--json]

Progress goes to stderr, the result to stdout. The same command goes on where a killed or interrupted one left off.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from training.harness.attempt import Result
    from trimtab.storage.runs import RunRecord


class _Stop:
    """Remembers the first SIGINT or SIGTERM; a second one ends the process at once, as without us.

    Until it is asked for the first time nobody would hear it (data is read, a run is brought back): then it interrupts.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._is_asked = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)
        if not self._is_asked:
            raise KeyboardInterrupt

    def __call__(self) -> bool:
        self._is_asked = True
        return self.signal is not None


def run_command(job: str, arguments: list[str] | None = None, *, learns_from: str) -> int:
    """Run the command line and return its exit code: 0 done, 130 or 143 interrupted, else the error's."""
    options = _parser(job, learns_from).parse_args(arguments)
    stop = _Stop()
    try:
        with stop:
            result = _train(job, options, stop)
    except KeyboardInterrupt:
        _say("interrupted before its first step; the same command begins again")
        return 128 + (stop.signal or signal.SIGINT)
    except TrimtabError as error:
        _say(str(error))
        return error.exit_code
    sys.stdout.write(f"{json.dumps(_as_json(result), indent=1) if options.json else _as_text(result)}\n")
    return 128 + stop.signal if result.outcome == "interrupted" and stop.signal else 0


def _train(job: str, options: argparse.Namespace, stop: _Stop) -> Result:
    from training.harness.config import load_config

    # Checked before torch is there: it takes two seconds, in which a wrong key need not wait to be told.
    load_config(options.config, importlib.import_module(f"training.{job}.config").Config)
    # OpenMP's threads spin while they wait: two on two busy cores took 49 s and 110 s, sleeping ones 13 s and 20 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from training.harness.attempt import Hooks, run_job

    return run_job(
        job,
        config=options.config,
        data=options.data,
        results=options.results,
        run_id=options.run_id,
        must_resume=options.resume,
        git_commit=options.commit,
        hooks=Hooks(stop=stop, say=_say),
    )


def _parser(job: str, learns_from: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m training.{job}", description=f"Train on {learns_from}.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="hyperparameters, YAML")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set; only read")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="for checkpoints and the record")
    parser.add_argument("--run-id", metavar="ID", help="default: named by the configuration and the data")
    parser.add_argument("--resume", action="store_true", help="an error if there is no such run to go on with")
    parser.add_argument("--commit", metavar="SHA", help="the source's commit, for the record")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    return parser


def _as_json(result: Result) -> dict[str, object]:
    record = result.record
    return {
        "outcome": result.outcome,
        "run_id": record.run_id,
        "job": record.job,
        "resumed_from_step": result.resumed_from_step,
        "last_step": record.attempts[-1].last_step,
        "record": f"runs/{record.run_id}.json",
        "run_directory": record.run_directory,
        "epochs": [epoch.model_dump(mode="json") for epoch in record.epochs],
        "final": record.final,
        "artifacts": [artifact.model_dump(mode="json") for artifact in record.artifacts],
    }


def _as_text(result: Result) -> str:
    record = result.record
    if result.outcome == "already finished":
        when = record.attempts[-1].ended
        how = f"was finished already ({when:%Y-%m-%d %H:%M} UTC); nothing was done"
    else:
        how = result.outcome
    headline = f"\n{_headline(record)}" if record.final else ""
    return f"run {record.run_id} {how}{headline}\nrecord runs/{record.run_id}.json\nfiles {record.run_directory}"


def _headline(record: RunRecord) -> str:
    from training.harness.attempt import job_of

    return job_of(record.job).headline(record.final or {})


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
