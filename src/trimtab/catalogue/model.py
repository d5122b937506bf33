"""The catalogue's shape: every section of trimtab.yaml as a frozen object. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field

from trimtab.catalogue.ci import Ci
from trimtab.catalogue.cloud import Aws, Bucket, Github, Modal, Registry
from trimtab.catalogue.fields import (
    ContainerMemory,
    Duration,
    ImageReference,
    ModuleName,
    Name,
    Prefix,
    ProjectPath,
    Size,
    VariantName,
)
from trimtab.catalogue.section import FROZEN, Section
from trimtab.units import MIB

STACKS: Final[tuple[str, ...]] = ("dev", "prod")
MODAL_HOST: Final = "oidc.modal.com"
GITHUB_HOST: Final = "token.actions.githubusercontent.com"


class Variant(Section):
    """One build of a service."""

    size_over_base: Size
    """The budget: unpacked bytes that the image may add to its base."""


class Golden(Section):
    """A real request with a known answer; an image that cannot answer it does not serve."""

    picture: ProjectPath
    """The picture that is posted."""
    post: Annotated[str, Field(pattern=r"^/[a-z0-9/_-]+$")]
    """The route that it is posted to."""
    expect: Annotated[Mapping[str, Annotated[int, Field(ge=0, le=1000)]], Field(min_length=1), *FROZEN]
    """How many of each label the answer must hold."""


class Limits(Section):
    """What a service may spend on its callers. What goes over is refused (413, 408), what is too much at once waits its
    turn or is answered 503."""

    body: Annotated[Size, Field(ge=1024)] = 10 * MIB
    """The bytes of one request."""
    pixels: Annotated[int, Field(ge=1, le=1_000_000_000)] = 25_000_000
    """The pixels of one picture, read from its header before it is decoded."""
    results: Annotated[int, Field(ge=1, le=1000)] = 100
    """The findings in one answer."""
    in_flight: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Pictures being received, waiting or computed; one more is answered 503."""
    upload: Duration = 20.0
    """From the headers to the end of the body."""


class Service(Section):
    """One inference service: the folder services/NAME."""

    port: Annotated[int, Field(ge=1024, le=65535)]
    """The port on this machine that serves it."""
    memory: ContainerMemory
    """What its container may use."""
    start: Duration
    """How long it may take from start to a healthy answer."""
    limits: Limits = Limits()
    """What its callers may ask of it; left out: the defaults."""
    variants: Annotated[Mapping[VariantName, Variant], Field(min_length=1), *FROZEN]
    """Its builds."""
    golden: Golden


class Job(Section):
    """One training job: the package training/NAME."""

    data: Prefix
    """What the job reads, read-only."""
    results: Prefix
    """What the job writes."""
    source: ModuleName
    """The program that lays out the demo's data set: `python -m SOURCE --out DIR`."""
    config: ProjectPath
    """Its hyperparameters on this machine."""
    memory: Size
    """The memory that a run here is planned with."""
    time: Duration
    """The time that a run here is planned with."""
    local: bool = True
    """Whether a whole run on this machine (`./deploy.sh --local`) trains it; `trimtab train` does in any case."""


class Budgets(Section):
    """What a whole run on this machine may take."""

    disk: Size
    """Peak of what is written, everything together."""
    memory: Size
    """Peak of one step."""
    time: Duration
    """Wall time of a whole first run."""
    usd: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Money, in US dollars."""


class Catalogue(Section):
    """trimtab.yaml, whole and checked. A name is written there once and read from here everywhere else."""

    project: Name
    """The project's name: a tag on everything that is made, and the first part of its names."""
    owner: Name
    """Who answers for it: a tag on everything that is made."""
    aws: Aws
    bucket: Bucket
    modal: Modal
    github: Github | None = None
    """Who may deploy from GitHub; left out: nobody."""
    registry: Registry = Registry()
    ci: Ci = Ci()
    base_image: ImageReference
    """What every service's image is built on."""
    services: Annotated[Mapping[Name, Service], Field(min_length=1), *FROZEN]
    jobs: Annotated[Mapping[Name, Job], Field(min_length=1), *FROZEN]
    budgets: Budgets

    def bucket_name(self, stack: str) -> str:
        """Return the name that the data bucket has in a stack."""
        return f"{self.bucket.name}-{stack}"
