"""`python -m infra.pulumi_cli VERB`: applies the program to AWS, through the Pulumi CLI. The verbs of `infra.embedded`.

Calls the CLI, and S3 to look whether a bucket that is to go holds data. What is missing in the environment is said
before that (infra/pulumi_setup.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.adoption import import_document, provider_urn
from infra.data_loss import require_confirmation
from infra.difference import differences
from infra.kinds import Clients
from infra.kinds.s3 import empty, is_empty
from infra.outcome import Outcome, answer, drift_failure, parse_arguments, say_changes
from infra.pulumi_argv import (
    pulumi_destroy_argv,
    pulumi_export_argv,
    pulumi_import_argv,
    pulumi_outputs_argv,
    pulumi_preview_argv,
    pulumi_provider_argv,
    pulumi_refresh_argv,
    pulumi_select_argv,
    pulumi_up_argv,
)
from infra.pulumi_setup import has_aws_credentials, installed_pulumi, require_environment
from trimtab.catalogue import load_catalogue
from trimtab.console import Console
from trimtab.errors import ProgramError, UsageError
from trimtab.process import Command, ProcessRunner, Runner

if TYPE_CHECKING:
    from infra.graph import Graph

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
    """One stack on AWS, and what its verbs need.

    `clients` is called only to look whether a bucket is empty, and what there is to adopt; `graph` only for the latter.
    """

    program: str
    stack: str
    catalogue_path: Path
    runner: Runner
    clients: Callable[[], Clients]
    graph: Callable[[], Graph]
    say: Callable[[str], None]

    def preview(self) -> Outcome:
        """Return what `up` would change: what was changed behind its back, then what the program has anew."""
        self._run(pulumi_select_argv(self.program, self.stack))
        refresh = json.loads(self._run(pulumi_refresh_argv(self.program, self.stack))).get("steps", [])
        steps = json.loads(self._run(pulumi_preview_argv(self.program, self.stack))).get("steps", [])
        return self._outcome(changes=[*changes_of_refresh(refresh), *changes_of_preview(steps)])

    def drift(self) -> Outcome:
        """Return the same, as a failure where there is anything."""
        outcome = self.preview()
        up = f"trimtab infra up --stack {self.stack}"
        return replace(outcome, failure=drift_failure(self.stack, outcome.changes or (), up=up))

    def adopt(self, names: Sequence[str]) -> Outcome:
        """Take what is there already into the state, with the settings that it has; return what `up` would change.

        Raises UsageError for what is not declared, and for what is not there.
        """
        self._run(pulumi_select_argv(self.program, self.stack))
        graph = self.graph()
        exported = json.loads(self._run(pulumi_export_argv(self.program, self.stack)))
        if provider_urn(exported) is None:
            self._tell(pulumi_provider_argv(self.program, self.stack))
            exported = json.loads(self._run(pulumi_export_argv(self.program, self.stack)))
        document = import_document(names, graph, exported, self.clients())
        with tempfile.TemporaryDirectory(prefix="trimtab-import-") as folder:
            file = Path(folder) / "import.json"
            file.write_text(json.dumps(document))
            self._tell(pulumi_import_argv(self.program, self.stack, str(file)))
        self.say(f"stack {self.stack} holds {', '.join(names)}; nothing of it was changed. `up` does what follows:")
        return self.preview()

    def up(self) -> Outcome:
        """Show what will change, and apply the program; return what changed and what the stack exports."""
        changes = self.preview().changes or ()
        say_changes(changes, self.say)
        self._tell(pulumi_up_argv(self.program, self.stack))
        return self._outcome(changes=changes, outputs=self.outputs().outputs)

    def outputs(self, *, as_environment: bool = False) -> Outcome:
        """Return what the stack exports."""
        outputs = json.loads(self._run(pulumi_outputs_argv(self.program, self.stack)))
        return replace(self._outcome(outputs=outputs), as_environment=as_environment)

    def destroy(self, *, with_data: bool, confirmed: Sequence[str] = (), dry_run: bool = False) -> Outcome:
        """List what the stack holds, and take it away.

        Raises UsageError for what is protected, and for a bucket with its data unless both were said.
        """
        exported = json.loads(self._run(pulumi_export_argv(self.program, self.stack)))
        held = [r for r in exported["deployment"].get("resources", []) if _is_real(r)]
        for resource in held:
            if resource.get("protect"):
                raise UsageError(
                    f"{resource['id']} is protected, so nothing was changed",
                    why=f"{_name(resource['urn'])} is declared with protect=True: outside dev, data is kept",
                    remedy="take `protect` away in infra/data_bucket.py, run `up`, then do this again",
                )
        full = self._full_buckets([r["id"] for r in held if r["type"] == _BUCKET_TYPE], with_data=with_data)
        changes = [_change("delete", r["urn"], r, ()) for r in reversed(held)]
        say_changes(changes, self.say)
        if not dry_run:
            require_confirmation(full, confirmed)
            for name in full:
                self.say(f"emptied {name}: {empty(self.clients().s3, name)} versions")
            self._tell(pulumi_destroy_argv(self.program, self.stack))
        return self._outcome(changes=changes)

    def _full_buckets(self, names: Sequence[str], *, with_data: bool) -> list[str]:
        full = [name for name in names if not is_empty(self.clients().s3, name)]
        if full and not with_data:
            raise UsageError(
                f"the bucket {full[0]} is not empty, so nothing was changed",
                why="a versioned bucket is deleted only when it holds no version of any object",
                remedy="keep it, or delete its data too: "
                f"trimtab infra destroy --stack {self.stack} --with-data --confirm {full[0]}",
            )
        return full

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
        declared, there = step.get("newState") or {}, step.get("oldState") or {}
        if step["op"] in _ACTIONS and _is_real(declared or there):
            changes.append(
                _change(
                    _ACTIONS[step["op"]],
                    step["urn"],
                    there or declared,
                    _fields(step),
                    declared=declared.get("inputs", {}),
                    there=there.get("inputs", {}),
                )
            )
    return changes


def changes_of_refresh(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of `pulumi refresh --preview-only --json` as what `up` does about them.

    There `update` says that a resource is no longer as the state has it, `delete` that it is gone, and `refresh` that
    nothing was found: https://github.com/pulumi/pulumi/blob/v3.263.0/pkg/backend/display/json.go
    """
    changes = []
    for step in steps:
        recorded, there = step.get("oldState") or {}, step.get("newState") or {}
        if step["op"] in ("update", "delete") and _is_real(recorded or there):
            action = "update" if step["op"] == "update" else "create"
            changes.append(
                _change(
                    action,
                    step["urn"],
                    recorded or there,
                    _fields(step) if action == "update" else (),
                    declared=recorded.get("outputs", {}),
                    there=there.get("outputs", {}),
                )
            )
    return changes


def _fields(step: Mapping[str, Any]) -> list[str]:
    paths = step.get("detailedDiff") or step.get("diffReasons") or ()
    return sorted({path.partition(".")[0].partition("[")[0] for path in paths})


def _change(
    action: str,
    urn: str,
    state: Mapping[str, Any],
    fields: Sequence[str],
    *,
    declared: Mapping[str, Any] = MappingProxyType({}),
    there: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    found = [item for field in fields for item in differences(field, declared.get(field), there.get(field))]
    return {
        "action": action,
        "type": state["type"],
        "name": _name(urn),
        "id": state.get("id", ""),
        "fields": list(fields),
        "differences": [item.as_document() for item in found],
    }


def _is_real(state: Mapping[str, Any]) -> bool:
    return bool(state.get("custom")) and not state["type"].startswith("pulumi:providers:")


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def main(argv: Sequence[str]) -> int:
    """Run a verb; return the exit code of the house."""
    arguments = parse_arguments(argv, program="python -m infra.pulumi_cli", embedded=False)
    console = Console(as_json=arguments.as_json)
    return answer(console, lambda: _carry_out_on_aws(arguments, console))


def _carry_out_on_aws(arguments: argparse.Namespace, console: Console) -> Outcome:
    try:
        return _carry_out(arguments, console)
    except (BotoCoreError, ClientError) as error:
        raise ProgramError(
            f"AWS did not answer what `{arguments.verb}` asked",
            why=str(error),
            remedy="sign in again (aws sso login), or have the rights granted that it names; then run the same again",
        ) from error


def _carry_out(arguments: argparse.Namespace, console: Console) -> Outcome:
    catalogue = load_catalogue(arguments.catalogue)
    require_environment(os.environ, verb=arguments.verb, has_credentials=has_aws_credentials)

    def client(service: str) -> Any:
        import boto3

        return boto3.client(service, region_name=catalogue.aws.region)  # type: ignore[call-overload]  # a variable

    def graph() -> Graph:
        from infra.embedded import record_stack

        account = client("sts").get_caller_identity()["Account"]
        return record_stack(catalogue, arguments.stack, account=account)

    stack = PulumiStack(
        program=installed_pulumi(),
        stack=arguments.stack,
        catalogue_path=arguments.catalogue,
        runner=ProcessRunner(),
        clients=lambda: Clients(s3=client("s3"), iam=client("iam"), other=client),
        graph=graph,
        say=console.say,
    )
    match arguments.verb:
        case "preview":
            return stack.preview()
        case "up":
            return stack.up()
        case "outputs":
            return stack.outputs(as_environment=arguments.env)
        case "drift":
            return stack.drift()
        case "import":
            return stack.adopt(arguments.resource or ["data-bucket"])
        case _:
            return stack.destroy(with_data=arguments.with_data, confirmed=arguments.confirm, dry_run=arguments.dry_run)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
