"""What a verb of `trimtab infra` answers, the same from the embedded AWS and from Pulumi: to scripts, to people."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trimtab.catalogue.model import STACKS
from trimtab.console import Console
from trimtab.errors import ProgramError, TrimtabError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One answer. `changes` is None where the verb changes nothing; `outputs` where the stack has none (yet)."""

    stack: str
    engine: Literal["embedded", "pulumi"]
    endpoint_url: str | None
    changes: Sequence[Mapping[str, Any]] | None = None
    outputs: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()

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
        for name, value in (self.outputs or {}).items():
            for key, inner in value.items() if isinstance(value, Mapping) else ((None, value),):
                console.line(f"{name}.{key}: {inner}" if key else f"{name}: {inner}")


def parse_arguments(argv: Sequence[str], *, program: str, embedded: bool) -> argparse.Namespace:
    """Return the arguments of a verb. Ends the process with 2, and says why, when they are wrong."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("verb", choices=("preview", "up", "outputs", "destroy"))
    parser.add_argument("--stack", choices=STACKS, default="dev")
    parser.add_argument("--catalogue", type=Path, default=Path(__file__).parent.parent / "trimtab.yaml")
    parser.add_argument("--json", dest="as_json", action="store_true", help="print the result as one JSON document")
    parser.add_argument("--with-data", action="store_true", help="with destroy: delete what the bucket holds, too")
    if embedded:
        parser.add_argument("--state-dir", type=Path, required=True, help="where the embedded AWS keeps its state")
    return parser.parse_args(argv)


def answer(console: Console, verb: Callable[[], Outcome]) -> int:
    """Run a verb and print what it answers; return the exit code. The one place here that catches an error."""
    try:
        outcome = verb()
    except TrimtabError as error:
        console.failure(error)
        return error.exit_code
    except OSError as error:
        failed = ProgramError(
            f"{error.filename or 'the state'} cannot be read or written",
            why=error.strerror or str(error),
            remedy="make room, or mend its rights; then run the same command again: it goes on from here",
        )
        console.failure(failed)
        return failed.exit_code
    except KeyboardInterrupt:
        console.say("interrupted; the same command goes on from here")
        return 130  # as a shell says it
    for note in outcome.notes:
        console.say(f"note: {note}")
    console.result(outcome.as_document(), text=lambda: outcome.show(console))
    return 0
