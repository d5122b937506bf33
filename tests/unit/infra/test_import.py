"""`import` through Pulumi: the order of its commands, and the file that it is told to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.embedded import record_stack
from infra.kinds import Clients
from infra.pulumi_cli import PulumiStack
from tests.support.catalogues import catalogue
from trimtab.process import Command, Completed

PROVIDER = {"urn": "urn:pulumi:dev::trimtab::pulumi:providers:aws::aws", "type": "pulumi:providers:aws"}


class OneProvider:
    """IAM of an account that has Modal's provider already, and nothing else."""

    def get_open_id_connect_provider(self, **_: Any) -> dict[str, Any]:
        """Answer as IAM does."""
        return {"Url": "oidc.modal.com", "ClientIDList": ["oidc.modal.com"]}


class Pulumi:
    """Answers as Pulumi would; after `up --target` its state has the provider. Keeps the import file's content."""

    def __init__(self) -> None:
        self.verbs: list[str] = []
        self.imported: dict[str, Any] = {}

    def run(self, command: Command, *, on_line: Callable[[str], None] | None = None) -> Completed:  # noqa: ARG002 - a Runner has it
        """Record the command, and answer it."""
        argv = command.argv
        verb = argv[2] if argv[1] == "stack" else argv[1]
        self.verbs.append(verb)
        if verb == "import":
            self.imported = json.loads(Path(argv[argv.index("--file") + 1]).read_text())
        held = [PROVIDER] if "up" in self.verbs else []
        answers: dict[str, Any] = {"export": {"deployment": {"resources": held}}, "refresh": {}, "preview": {}}
        return Completed(stdout=json.dumps(answers.get(verb, {})), wall_s=0.0)


def test_a_new_stack_gets_its_provider_first_and_then_what_it_adopts() -> None:
    pulumi, said = Pulumi(), list[str]()
    clients: Any = Clients(s3=None, iam=OneProvider())  # type: ignore[arg-type]  # S3 is not asked
    stack = PulumiStack(
        program="/opt/pulumi/bin/pulumi",
        stack="dev",
        catalogue_path=Path("trimtab.yaml"),
        runner=pulumi,
        clients=lambda: clients,
        graph=lambda: record_stack(catalogue(), "dev", account="111122223333"),
        say=said.append,
    )
    assert stack.adopt(["modal-provider"]).changes == []
    assert pulumi.verbs == ["select", "export", "up", "export", "import", "select", "refresh", "preview"]
    assert [item.get("id") for item in pulumi.imported["resources"]] == [
        None,
        "arn:aws:iam::111122223333:oidc-provider/oidc.modal.com",
    ]
    assert any("nothing of it was changed" in line for line in said)
