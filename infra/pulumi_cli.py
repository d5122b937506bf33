"""`python -m infra.pulumi_cli VERB`: applies the program to AWS, through the Pulumi CLI. The verbs of `infra.embedded`.

Calls the CLI, and S3 to look whether a bucket that is to go holds data. What is missing in the environment is said
before that (infra/pulumi_setup.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.outcome import Outcome, answer, parse_arguments
from infra.pulumi_argv import (
    pulumi_destroy_argv,
    pulumi_export_argv,
    pulumi_outputs_argv,
    pulumi_preview_argv,
    pulumi_select_argv,
    pulumi_up_argv,
)
from infra.pulumi_setup import has_aws_credentials, installed_pulumi, require_environment
from trimtab.catalogue import load_catalogue
from trimtab.console import Console
from trimtab.errors import UsageError
from trimtab.process import Command, ProcessRunner, Runner

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BUCKET_TYPE: Final = "aws:s3/bucket:Bucket"
# What a step of `pulumi preview --json` means to us; what is not here (same, read, refresh, the `replace` that repeats
# its create and its delete) changes nothing of its own.
_ACTIONS: Final = {
    "create": "create",
    "create-replacement": "create",
    "update": "update",
    "delete": "delete",
    "delete-replaced": "delete",
    "import": "import",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PulumiStack:
    """One stack on AWS, and what its verbs need. `s3_client` is called only to look whether a bucket is empty."""

    program: str
    stack: str
    catalogue_path: Path
    runner: Runner
    s3_client: Callable[[], S3Client]
    say: Callable[[str], None]

    def preview(self) -> Outcome:
        """Return what `up` would change."""
        self._run(pulumi_select_argv(self.program, self.stack))
        steps = json.loads(self._run(pulumi_preview_argv(self.program, self.stack)))["steps"]
        return self._outcome(changes=changes_of_preview(steps))

    def up(self) -> Outcome:
        """Apply the program; return what changed and what the stack exports."""
        changes = self.preview().changes
        self._tell(pulumi_up_argv(self.program, self.stack))
        return self._outcome(changes=changes, outputs=self.outputs().outputs)

    def outputs(self) -> Outcome:
        """Return what the stack exports."""
        return self._outcome(outputs=json.loads(self._run(pulumi_outputs_argv(self.program, self.stack))))

    def destroy(self, *, with_data: bool) -> Outcome:
        """Take away what the stack holds. Raises UsageError for what is protected, and for a bucket with its data."""
        exported = json.loads(self._run(pulumi_export_argv(self.program, self.stack)))
        held = [r for r in exported["deployment"].get("resources", []) if _is_real(r)]
        for resource in held:
            if resource.get("protect"):
                raise UsageError(
                    f"{resource['id']} is protected, so nothing was changed",
                    why=f"{_name(resource['urn'])} is declared with protect=True: outside dev, data is kept",
                    remedy="take `protect` away in infra/data_bucket.py, run `up`, then do this again",
                )
        self._empty_buckets([r["id"] for r in held if r["type"] == _BUCKET_TYPE], with_data=with_data)
        self._tell(pulumi_destroy_argv(self.program, self.stack))
        return self._outcome(changes=[_change("delete", r["urn"], r, ()) for r in reversed(held)])

    def _empty_buckets(self, names: Sequence[str], *, with_data: bool) -> None:
        from infra.kinds.s3 import empty, is_empty

        for name in names:
            client = self.s3_client()
            if is_empty(client, name):
                continue
            if not with_data:
                raise UsageError(
                    f"the bucket {name} is not empty, so nothing was changed",
                    why="a versioned bucket is deleted only when it holds no version of any object",
                    remedy=f"keep it, or delete its data too: `trimtab infra destroy --stack {self.stack} --with-data`",
                )
            self.say(f"emptied {name}: {empty(client, name)} versions")

    def _run(self, argv: tuple[str, ...]) -> str:
        environment = {
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "TRIMTAB_CATALOGUE": str(self.catalogue_path.absolute()),
            # Its language host for Python lies beside it, and is looked for on PATH.
            "PATH": os.pathsep.join((str(Path(self.program).parent), os.environ["PATH"])),
        }
        hint = "the lines above are Pulumi's; docs/infrastructure.md says what it needs"
        return self.runner.run(Command(argv=argv, env=environment, hint=hint), on_line=self.say).stdout

    def _tell(self, argv: tuple[str, ...]) -> None:
        for line in self._run(argv).splitlines():
            self.say(line)

    def _outcome(
        self, *, changes: Sequence[Mapping[str, Any]] | None = None, outputs: Mapping[str, Any] | None = None
    ) -> Outcome:
        return Outcome(stack=self.stack, engine="pulumi", endpoint_url=None, changes=changes, outputs=outputs)


def changes_of_preview(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of `pulumi preview --json` as `trimtab infra` shows changes: its own resources' only."""
    changes = []
    for step in steps:
        state = step.get("newState") or step.get("oldState") or {}
        if step["op"] in _ACTIONS and _is_real(state):
            fields = sorted(step.get("detailedDiff") or step.get("diffReasons") or ())
            changes.append(_change(_ACTIONS[step["op"]], step["urn"], step.get("oldState") or state, fields))
    return changes


def _change(action: str, urn: str, state: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    return {
        "action": action,
        "type": state["type"],
        "name": _name(urn),
        "id": state.get("id", ""),
        "fields": list(fields),
    }


def _is_real(state: Mapping[str, Any]) -> bool:
    return bool(state.get("custom")) and not state["type"].startswith("pulumi:providers:")


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def main(argv: Sequence[str]) -> int:
    """Run a verb; return the exit code of the house."""
    arguments = parse_arguments(argv, program="python -m infra.pulumi_cli", embedded=False)
    console = Console(as_json=arguments.as_json)
    return answer(console, lambda: _carry_out(arguments, console))


def _carry_out(arguments: argparse.Namespace, console: Console) -> Outcome:
    catalogue = load_catalogue(arguments.catalogue)
    require_environment(os.environ, verb=arguments.verb, has_credentials=has_aws_credentials)

    def s3_client() -> S3Client:
        import boto3

        return boto3.client("s3", region_name=catalogue.aws.region)

    stack = PulumiStack(
        program=installed_pulumi(),
        stack=arguments.stack,
        catalogue_path=arguments.catalogue,
        runner=ProcessRunner(),
        s3_client=s3_client,
        say=console.say,
    )
    match arguments.verb:
        case "preview":
            return stack.preview()
        case "up":
            return stack.up()
        case "outputs":
            return stack.outputs()
        case _:
            return stack.destroy(with_data=arguments.with_data)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
