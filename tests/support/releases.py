"""Releases of a small service that misbehaves as it is told, on the real engine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.catalogues import catalogue
from tests.support.engine import BASE_IMAGE, ROOT, SERVICE
from trimtab.images.build import LABEL_INPUTS, LABEL_PROJECT, LABEL_SERVICE
from trimtab.images.container import ContainerSpec
from trimtab.images.front import Front, FrontSpec, ensure_front, front_build_argv, front_or_none, front_tag
from trimtab.images.golden import GoldenAnswer, HttpDoor
from trimtab.images.record import Release
from trimtab.images.release import Gate, bring_live
from trimtab.images.turn import TurnSpec, turn
from trimtab.images.volume import Models, ensure_models
from trimtab.images.weights import Weights
from trimtab.process import Command, ProcessRunner
from trimtab.units import MIB

if TYPE_CHECKING:
    from docker import DockerClient

NEVER_HEALTHY = ("unhealthy", "starting")
MODES = ("good", "better", "unhealthy", "starting", "crashing", "wrong", "refusing")
MANIFEST = b"[models]\n"
PICTURE = b"a picture of a gull"
_DOCKERFILE = """\
FROM %s
COPY server.py /server.py
USER 10001
CMD ["python", "-B", "/server.py"]
ENV MODE=%s
"""


def silent(_line: str) -> None:
    """Say nothing."""


def no_model(weights: Weights) -> Iterator[bytes]:
    """Give no model: there is none."""
    raise AssertionError(f"{weights.file} was asked for")


def build_mode(project: str, mode: str, folder: Path, *, inputs: str = "") -> str:
    """Build the image of a service that behaves as its mode says, and return its id."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "support" / "release" / "server.py", folder)
    (folder / "Dockerfile").write_text(_DOCKERFILE % (BASE_IMAGE, mode))
    argv = (
        "docker", "buildx", "build", "--builder", "default", "--load", "--provenance", "false", "--quiet",
        "--label", f"{LABEL_PROJECT}={project}", "--label", f"{LABEL_SERVICE}={SERVICE}",
        "--label", f"{LABEL_INPUTS}={inputs or mode}",
        "--tag", f"{project}/{SERVICE}:{mode}",
        str(folder),
    )  # fmt: skip
    return ProcessRunner().run(Command(argv=argv, timeout_s=120)).stdout.strip()


def build_front(client: DockerClient, project: str) -> str:
    """Build the fronts' image of a project, and return its id."""
    context = ROOT / "deploy" / "front"
    argv = front_build_argv(project=project, base_image=BASE_IMAGE, inputs="tests", revision="none", context=context)
    ProcessRunner().run(Command(argv=argv, timeout_s=300))
    return str(client.images.get(front_tag(project)).id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harbour:
    """A project with one service on an engine. `images` are the ids by mode."""

    engine: DockerClient
    project: str
    port: int
    folder: Path
    images: Mapping[str, str]
    front_image: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spec(self, mode: str) -> ContainerSpec:
        return ContainerSpec(
            project=self.project,
            service=SERVICE,
            image=self.images[mode],
            release=self.images[mode],
            memory_bytes=64 * MIB,
            models_volume=self.models.volume,
            environment={"MAX_RESULTS": "7"},
        )

    @property
    def models(self) -> Models:
        return Models(project=self.project, service=SERVICE, manifest=MANIFEST, weights=())

    def wanted(self, mode: str) -> Release:
        return Release(
            number=0,
            digest=self.images[mode],
            reference="",
            variant="cpu",
            commit="c0de",
            models={},
            models_volume=self.models.volume,
            identity=self.images[mode],
            made_at="2030-01-01T00:00:00+00:00",
        )

    def front(self) -> Front:
        spec = FrontSpec(project=self.project, service=SERVICE, image=self.front_image, port=self.port)
        return ensure_front(self.engine, spec, say=silent)

    def gate(self, mode: str) -> Gate:
        golden = catalogue().services[SERVICE].golden
        picture = self.folder / golden.picture
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(PICTURE)
        return Gate(golden=golden, root=self.folder, start_s=3 if mode in NEVER_HEALTHY else 30)

    def release(
        self, mode: str, *, say: Callable[[str], None] = silent, withdraw: bool = False
    ) -> tuple[Release, GoldenAnswer]:
        """Bring a mode live, as a deploy does."""
        with turn(self.engine, self.turn(mode), say=say) as mine:
            front = self.front()
            proven = front.record_at_once().proven_models
            ensure_models(self.engine, self.models, image=self.images[mode], proven=proven, read=no_model, say=say)
            spec, wanted, gate = self.spec(mode), self.wanted(mode), self.gate(mode)
            return bring_live(self.engine, front, spec, wanted, gate=gate, mine=mine, say=say, withdraw=withdraw)

    def turn(self, purpose: str) -> TurnSpec:
        return TurnSpec(project=self.project, service=SERVICE, image=self.front_image, purpose=purpose)

    def served(self) -> str:
        """Return the mode of the release that answers on the service's port, within the time a restart may take."""
        deadline_s = time.monotonic() + 20
        while True:
            try:
                import json

                mode: str = json.loads(HttpDoor(self.address).ask("/health", timeout_s=2).text)["release"]
            except Exception:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
            else:
                return mode

    def containers(self) -> list[str]:
        """Return the roles of the containers that there are."""
        found = self.engine.containers.list(all=True, filters={"label": f"{LABEL_PROJECT}={self.project}"})
        return sorted(str(container.name).removeprefix(f"{self.project}-{SERVICE}-") for container in found)

    def live(self) -> int | None:
        """Return the number of the live release."""
        front = front_or_none(self.engine, self.project, SERVICE)
        return None if front is None else front.record().live


@contextmanager
def cut_short(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Have something done after a while, beside what runs inside."""
    import threading

    timer = threading.Timer(seconds, act)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
