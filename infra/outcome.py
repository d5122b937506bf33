"""What a verb of `trimtab infra` answers, the same from the embedded AWS and from Pulumi: to scripts, to people."""

from __future__ import annotations

import argparse
import errno
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from infra.difference import show
from trimtab.catalogue.model import STACKS
from trimtab.console import Console
from trimtab.errors import BudgetError, DriftError, ProgramError, TrimtabError

_ROLE_OUTPUTS: Final = {"modal_role_arns": "TRIMTAB_ROLE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One answer. `changes` is None where the verb changes nothing; `outputs` where the stack has none (yet).

    `failure`: the answer is whole, and it is bad news. `as_environment`: print the outputs as shell variables.
    """

    stack: str
    engine: Literal["embedded", "pulumi"]
    endpoint_url: str | None
    changes: Sequence[Mapping[str, Any]] | None = None
    outputs: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    failure: TrimtabError | None = None
    as_environment: bool = False

    def as_document(self) -> dict[str, Any]:
        """Return it for `--json`."""
        document: dict[str, Any] = {"stack": self.stack, "engine": self.engine, "endpoint_url": self.endpoint_url}
        if self.changes is not None:
            document["changes"] = list(self.changes)
        if self.outputs is not None:
            document["outputs"] = dict(self.outputs)
        return {**document, "notes": list(self.notes)}

    def show(self, console: Console) -> None:
        """Print it for a person."""
        if self.changes is not None:
            rows = [(c["action"], c["name"], c["id"], ", ".join(c["fields"])) for c in self.changes]
            title = f"Stack {self.stack}" if rows else f"Stack {self.stack}: nothing to change"
            console.table(title, ("action", "resource", "id", "fields"), rows)
            for change in self.changes:
                for line in [*show(change)][1:]:
                    console.line(f"{change['name']}: {line.strip()}")
        if self.as_environment:
            for name, value in self.environment().items():
                console.line(f"{name}={shlex.quote(value)}")
            return
        for name, value in (self.outputs or {}).items():
            for key, inner in value.items() if isinstance(value, Mapping) else ((None, value),):
                console.line(f"{name}.{key}: {inner}" if key else f"{name}: {inner}")

    def environment(self) -> dict[str, str]:
        """Return the outputs as variables: TRIMTAB_BUCKET, TRIMTAB_REGION, TRIMTAB_ROLE_<JOB> ..."""
        variables: dict[str, str] = {} if self.endpoint_url is None else {"TRIMTAB_ENDPOINT_URL": self.endpoint_url}
        for name, value in (self.outputs or {}).items():
            if isinstance(value, Mapping):
                head = _ROLE_OUTPUTS.get(name, f"TRIMTAB_{_variable(name).removesuffix('S')}")
                variables |= {f"{head}_{_variable(key)}": str(inner) for key, inner in value.items()}
            else:
                variables[f"TRIMTAB_{_variable(name)}"] = str(value)
        return variables


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def drift_failure(stack: str, changes: Sequence[Mapping[str, Any]], *, up: str) -> DriftError | None:
    """Return what `drift` fails with, or None when everything is as it is declared."""
    if not changes:
        return None
    told = {"create": "is declared, and not there", "update": "differs"}
    lines: list[str] = []
    for change in changes:
        first, *rest = show(change)
        lines += [f"{first.partition(' ')[2]} {told.get(change['action'], 'is there, and not declared')}", *rest]
    return DriftError(
        f"stack {stack} is not as it is declared: {len(changes)} resource{'s' if len(changes) > 1 else ''}",
        why="\n".join(lines),
        remedy=f"to bring it back: {up}; where the change is wanted, declare it in trimtab.yaml or infra/",
    )


def say_changes(changes: Sequence[Mapping[str, Any]], say: Callable[[str], None]) -> None:
    """Tell what is about to be done, before it is."""
    for change in changes:
        for line in show(change):
            say(line)


def parse_arguments(argv: Sequence[str], *, program: str, embedded: bool) -> argparse.Namespace:
    """Return the arguments of a verb. Ends the process with 2, and says why, when they are wrong."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("verb", choices=("preview", "up", "outputs", "destroy", "drift", "import"))
    parser.add_argument("--stack", choices=STACKS, default="dev")
    parser.add_argument("--catalogue", type=Path, default=Path(__file__).parent.parent / "trimtab.yaml")
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the result as one JSON document")
    parser.add_argument("--with-data", action="store_true", help="with destroy: delete what the bucket holds, too")
    parser.add_argument("--confirm", action="append", default=[], metavar="BUCKET", help="with --with-data: its name")
    parser.add_argument("--dry-run", action="store_true", help="with destroy: show what would go, and keep it")
    parser.add_argument("--env", action="store_true", help="with outputs: KEY=VALUE lines for a shell or $GITHUB_ENV")
    parser.add_argument(
        "--resource", action="append", metavar="NAME", help="with import: what to adopt; default: data-bucket"
    )
    if embedded:
        parser.add_argument("--state-dir", type=Path, required=True, help="where the embedded AWS keeps its state")
    return parser.parse_args(argv)


def answer(console: Console, verb: Callable[[], Outcome]) -> int:
    """Run a verb and print what it answers; return the exit code. The one place here that catches an error."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        outcome = verb()
        for note in outcome.notes:
            console.say(f"note: {note}")
        console.result(outcome.as_document(), text=lambda: outcome.show(console), failure=outcome.failure)
    except TrimtabError as error:
        console.failure(error)
        return error.exit_code
    except (BotoCoreError, ClientError) as error:
        failed = ProgramError(
            "AWS could not be read",
            why=str(error),
            remedy="see that it answers (`trimtab status`), and your rights; then run the same command again",
        )
        console.failure(failed)
        return failed.exit_code
    except OSError as error:
        kind = BudgetError if error.errno in (errno.ENOSPC, errno.EDQUOT) else ProgramError
        unwritable = kind(
            f"{error.filename or 'the state'} cannot be read or written",
            why=error.strerror or str(error),
            remedy="make room, or mend its rights; then run the same command again: it goes on from here",
        )
        console.failure(unwritable)
        return unwritable.exit_code
    except KeyboardInterrupt:
        console.say("interrupted; the same command goes on from here")
        return 130  # as a shell says it
    return 0
