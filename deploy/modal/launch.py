"""What a person asked `modal run` for, read before Modal hears of anything. Pure.

Modal's client sends the functions of a file when it has read the file, and only then calls the entry point with the
words of the command line. A wrong word would be refused after images were built for it; and the machine, which belongs
to the function, could not be chosen. So these words are read when `app.py` is imported.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import NoReturn

from deploy.modal.functions import Function, training_function
from trimtab.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The words of one launch, as the entry point takes them; "" and 0 where nothing was said."""

    action: str = ""
    job: str = ""
    config: str = ""
    config_path: str = ""
    profile: str = ""
    run_id: str = ""
    resume: bool = False
    wait: str = "yes"
    results: str = ""
    cap_seconds: float = 0.0
    max_usd: float = 0.0

    def function(self, functions: Mapping[str, Function], *, named: str = "") -> Function:
        """Return the function that is asked for: by its action, by its job, or by `named`, which is app.py::NAME.

        Raises UsageError for words that mean nothing, or nothing together.
        """
        _require("job", self.job, sorted({function.job for function in functions.values()}))
        _require("--wait", self.wait, ("yes", "no"))
        if not (self.action or self.job or named in functions):
            raise UsageError(
                "nothing is launched",
                why="neither an action nor a job is named, and a default would rent a machine for a day",
                remedy=f"give --action: {', '.join(function.action for function in functions.values())}",
            )
        action = self.action or (functions[named].action if named in functions else "train")
        by_action = {function.action: function for function in functions.values()}
        _require("action", action, tuple(by_action))
        found = by_action[action]
        if self.job and found.job != self.job and action == "train":
            found = training_function(dict(functions), self.job) or found
        if self.job and found.job != self.job:
            raise UsageError(
                f"--action {action} is not of job {self.job}",
                why=f"it is of {found.job}",
                remedy="leave --job out, or take --action train",
            )
        self._require_sense(found)
        return found

    def _require_sense(self, function: Function) -> None:
        if self.config and self.config_path:
            raise UsageError(
                "--config and --config-path say the same twice", why="both name a file", remedy="leave one out"
            )
        for word, given, unit in (
            ("--cap-seconds", self.cap_seconds, "seconds"),
            ("--max-usd", self.max_usd, "dollars"),
        ):
            if not 0 <= given < inf:
                raise UsageError(
                    f"{word} {given:g} caps nothing", why=f"it is no amount of {unit}", remedy=f"give {unit}"
                )
        if self.cap_seconds and self.max_usd:
            raise UsageError(
                "--cap-seconds and --max-usd say two things", why="each caps the run", remedy="leave one out"
            )
        trains = function.runs == "train"
        for word, is_given, is_taken in (
            ("--resume", self.resume, trains),
            ("--cap-seconds", bool(self.cap_seconds), trains),
            ("--max-usd", bool(self.max_usd), trains),
            ("--run-id", bool(self.run_id), trains or function.runs == "evaluate"),
            ("--results", bool(self.results), trains or function.runs == "evaluate"),
            ("--config", bool(self.config or self.config_path), function.runs != "check"),
        ):
            if is_given and not is_taken:
                raise UsageError(
                    f"{word} means nothing to {function.action}",
                    why=f"{function.name} does not train" if function.runs != "check" else "it compares kernels",
                    remedy=f"leave {word} out",
                )
        if self.cap_seconds and not self.run_id:
            raise UsageError(
                "--cap-seconds needs --run-id",
                why="it caps all attempts of a run together, and what earlier ones took is known by the run's name",
                remedy="give the run a name with --run-id",
            )


def words_of(argv: Sequence[str], app: Path, module: str) -> tuple[str, tuple[str, ...]] | None:
    """Return (NAME of app.py::NAME, the words after it) of a `modal run`; None for any other program or command."""
    for index, word in enumerate(argv):
        file, _, named = word.partition("::")
        is_ours = file == module or (file.endswith(".py") and Path(file).resolve() == app)
        if is_ours and "run" in argv[1:index]:
            return named.removeprefix("app."), tuple(argv[index + 1 :])
    return None


def read_launch(words: Sequence[str]) -> Launch | None:
    """Return what was asked for; None where help was. What is unknown is left to Modal's client, which refuses it."""
    if "--help" in words or "-h" in words:
        return None
    parser = _Parser(add_help=False, allow_abbrev=False)
    for field in fields(Launch):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    known, _ = parser.parse_known_args(list(words))
    return Launch(**vars(known))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(
            "the words after app.py are wrong", why=message, remedy="modal run deploy/modal/app.py --help lists them"
        )


def _require(kind: str, word: str, known: Sequence[str]) -> None:
    if not word or word in known:
        return
    near = difflib.get_close_matches(word, known, n=1)
    raise UsageError(
        f"{word!r} is no {kind}",
        why=f"known: {', '.join(known)}",
        remedy=f"did you mean {near[0]!r}?" if near else "name one of these",
    )
