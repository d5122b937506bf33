"""Step: the models of a service, made from their public source and published in the bucket under their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trimtab.executor import Result, Say
from trimtab.images.estimate import Declared, DeclaredModel
from trimtab.images.weights import Weights, read_weights
from trimtab.plan import Cost, Step
from trimtab.process import Command, Runner
from trimtab.project import Project
from trimtab.storage.bucket import BucketAccess
from trimtab.storage.objects import Place, explained
from trimtab.units import MIB

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHECKSUM = "sha256"
_NPM_BYTES: Final = 850 * MIB  # measured: Debian's, with all that it needs


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishWeights:
    """Have the models of a service in the bucket."""

    service: str


def weights_steps(services: Sequence[str], declared: Declared) -> dict[str, Step]:
    """Return the step of each service. A model is made once, for the first that has it; so is npm brought, if need be.

    Models then lie in the cache and with the embedded AWS. While they are made, npm holds their package twice.
    """
    steps: dict[str, Step] = {}
    made: set[str] = set()
    for service in services:
        new = tuple(model for model in declared.models.get(service, ()) if model.file not in made)
        made |= {model.file for model in new}
        steps[service] = _step(service, new, brings_npm=not steps and not declared.has_npm)
    return steps


def _step(service: str, new: tuple[DeclaredModel, ...], *, brings_npm: bool) -> Step:
    npm_bytes, npm_s = (_NPM_BYTES, 40) if brings_npm else (0, 0)
    kept_bytes = 2 * sum(model.size_bytes for model in new) + npm_bytes
    package_bytes = max((model.package_bytes for model in new), default=0)
    return Step(
        name=f"models:{service}",
        title=f"the models of {service} in the bucket, by checksum",
        action=PublishWeights(service=service),
        predicted=Cost(
            peak_bytes=kept_bytes + 2 * package_bytes,
            kept_bytes=kept_bytes,
            memory_bytes=700 * MIB,
            wall_s=20 + npm_s,
        ),
    )


class WeightsHandler:
    """Carries it out."""

    def __init__(self, project: Project, runner: Runner, bucket: BucketAccess) -> None:
        self._project = project
        self._runner = runner
        self._bucket = bucket

    def preflight(self, action: PublishWeights) -> None:
        """Refuse a manifest that cannot be read. Raises UsageError."""
        read_weights(self._project.root, action.service)

    def finished(self, action: PublishWeights) -> Result | None:
        """Return the models when the bucket holds every one, with its pinned size and checksum."""
        wanted = read_weights(self._project.root, action.service)
        client = self._bucket.operator_or_none()
        if client is None or not all(_is_published(client, self._bucket.name, weights) for weights in wanted):
            return None
        return self._result(wanted)

    def run(self, action: PublishWeights, say: Say) -> Result:
        """Make the models and upload those that the bucket lacks."""
        wanted = read_weights(self._project.root, action.service)
        folder = self._project.state / "cache" / "models"
        manifest = self._project.root / "services" / action.service / "models.toml"
        self._runner.run(
            Command(argv=(str(self._project.root / "scripts" / "setup-npm"),), house=True), on_line=say
        )  # the models' packages come from npm
        argv = self._project.python_argv(
            "services.model_zoo", "fetch", "--out", str(folder), "--manifest", str(manifest)
        )
        hint = "the lines above name the model and what is wrong with it"
        self._runner.run(Command(argv=argv, cwd=self._project.root, hint=hint, house=True), on_line=say)
        client = self._bucket.operator()
        with explained("writing to", Place(bucket=self._bucket.name, prefix=self._project.catalogue.bucket.models)):
            for weights in wanted:
                if not _is_published(client, self._bucket.name, weights):
                    say(f"to s3://{self._bucket.name}/{weights.key}")
                    with (folder / weights.file).open("rb") as file:
                        client.put_object(
                            Bucket=self._bucket.name, Key=weights.key, Body=file, Metadata={_CHECKSUM: weights.sha256}
                        )
        return self._result(wanted)

    def _result(self, wanted: tuple[Weights, ...]) -> Result:
        return {"models": {weights.file: f"s3://{self._bucket.name}/{weights.key}" for weights in wanted}}


def _is_published(client: S3Client, bucket: str, weights: Weights) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=weights.key)
    except (ClientError, BotoCoreError):
        return False
    return head["ContentLength"] == weights.size_bytes and head["Metadata"].get(_CHECKSUM) == weights.sha256
