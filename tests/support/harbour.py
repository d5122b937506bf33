"""An embedded AWS with the harbour's dev stack, applied by the program itself: a bucket, and the job tides' role."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infra import engine
from infra.embedded import record_stack
from infra.kinds import Clients
from infra.stack_state import StackState
from tests.support.catalogues import catalogue
from tests.support.embedded import embedded_aws
from trimtab.emulation.web_identity import modal_claims
from trimtab.process import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trimtab.emulation.aws import EmbeddedAws

BUCKET: Final = "harbour-charts-dev"
REGION: Final = "eu-north-1"
DATA: Final = "datasets/tides/"
RESULTS: Final = "results/tides/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Harbour:
    """The running stack."""

    aws: EmbeddedAws
    role_arn: str

    def token(self, *, app: str = "harbour") -> Secret:
        """Return an identity token as a container of an app gets it."""
        claims = modal_claims(workspace="ac-harbour01", environment="main", app=app)
        return Secret(self.aws.mint_token(claims))

    def put(self, key: str, content: bytes) -> None:
        """Write an object as the operator."""
        self.aws.operator_client("s3", region=REGION).put_object(Bucket=BUCKET, Key=key, Body=content)

    def content(self, key: str) -> bytes:
        """Read an object as the operator."""
        return self.aws.operator_client("s3", region=REGION).get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def absent(self, key: str) -> bool:
        """Say whether there is no such object."""
        return not self.aws.operator_client("s3", region=REGION).list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"]


@contextmanager
def harbour(state_dir: Path) -> Iterator[Harbour]:
    """Run it."""
    with embedded_aws(state_dir) as running:
        graph = record_stack(catalogue(), "dev")
        resources, _ = engine.declared(graph)
        clients = Clients(s3=running.operator_client("s3", region=REGION), iam=running.operator_client("iam"))
        state = StackState(generation=running.generation)
        changes = engine.plan_changes(resources, state, clients)
        engine.apply(changes, state, clients, save=lambda _: None, say=lambda _: None)
        yield Harbour(aws=running, role_arn=graph.exports["modal_role_arns"]["tides"])
