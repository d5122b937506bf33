"""Each variant's images, built by the real steps: what is left inside, who runs them, and what they share.

The CPU's are always built. The others are large (1.4 GB of CUDA, 0.2 GB of torch to fetch), so they are asked for:
`TRIMTAB_TEST_VARIANTS='gpu torch' scripts/test tests/engines/test_image_variants.py`.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.engine import ROOT, require_engine, tidied_up, unused_project
from tests.support.serving import tiny_models
from trimtab.catalogue import Catalogue, load_catalogue, parse_catalogue
from trimtab.images.build import image_tag
from trimtab.process import ProcessRunner
from trimtab.project import Project
from trimtab.steps.base import BaseHandler, BuildBase
from trimtab.steps.image import BuildImage, ImageHandler
from trimtab.units import parse_size

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(600)]

VARIANTS = {"cpu": "220MB", "gpu": "2.6GB", "torch": "1GB"}
ASKED_FOR = {"cpu", *os.environ.get("TRIMTAB_TEST_VARIANTS", "").split()}
SERVICES = tuple(load_catalogue(ROOT / "trimtab.yaml").services)

# What has no business in an image that serves: it builds, tests, or was only on the way.
COMPILER = re.compile(r"/(gcc|g\+\+|cc|c\+\+|clang|ld|as|make|cmake|ninja|nvcc|ptxas|protoc)[^/.]*$")
LEFT_BEHIND = re.compile(
    r"/(tests?|testing_data|\.cache|pip|pip-[^/]*|wheels?)/|\.(h|hpp|hh|cuh|a|lib|pyi|whl|cmake|c|cpp|cu)$"
)
BROUGHT_BY_TORCH = re.compile(r"/torch(gen)?/")  # Python modules that are called so: torch/testing and the like


def silent(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A variant of every service, built, and its base."""

    engine: DockerClient
    catalogue: Catalogue
    variant: str
    over_base_bytes: dict[str, int]

    @property
    def base(self) -> str:
        return image_tag(self.catalogue.project, "base", self.variant)

    def tag(self, service: str) -> str:
        return image_tag(self.catalogue.project, service, self.variant)

    def layers(self, image: str) -> list[str]:
        found: list[str] = self.engine.images.get(image).attrs["RootFS"]["Layers"]
        return found

    def run(self, image: str, *argv: str, **options: object) -> str:
        """Run a command in a new container as the service would run, and return what it printed."""
        container = self.engine.containers.run(
            image,
            list(argv),
            detach=True,
            read_only=True,
            network_mode="none",
            tmpfs={"/tmp": ""},  # noqa: S108 - inside
            **options,
        )
        try:
            code = container.wait()["StatusCode"]
            output = container.logs(
                stdout=True, stderr=False
            ).decode()  # after its end: what is followed may lack a part
            assert code == 0, container.logs().decode()
        finally:
            container.remove(force=True)
        return output


@pytest.fixture(scope="module", params=VARIANTS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Build every service in one variant, with the steps that the commands use."""
    if request.param not in ASKED_FOR:
        pytest.skip(f"{request.param} is large: TRIMTAB_TEST_VARIANTS={request.param} asks for it")
    engine = require_engine()
    with tidied_up(engine, unused_project()) as name, index_of_torch(engine, request.param, tmp_path_factory):
        catalogue = catalogue_of(name, request.param)
        project = Project(
            root=ROOT,
            catalogue_path=ROOT / "trimtab.yaml",
            catalogue=catalogue,
            state=tmp_path_factory.mktemp("state"),
        )
        images = ImageHandler(project, ProcessRunner())
        wanted = tuple(BuildImage(service=service, variant=request.param) for service in SERVICES)
        BaseHandler(project, ProcessRunner(), images).run(BuildBase(variant=request.param, images=wanted), silent)
        sizes = {image.service: images.run(image, silent)["over_base_bytes"] for image in wanted}
        yield Built(engine=engine, catalogue=catalogue, variant=request.param, over_base_bytes=sizes)


def catalogue_of(project: str, variant: str) -> Catalogue:
    """Return the project's catalogue under another name, in which every service asks for one variant."""
    document = yaml.safe_load((ROOT / "trimtab.yaml").read_text())
    document["project"] = project
    for service in document["services"].values():
        service["variants"] = {variant: {"size_over_base": VARIANTS[variant]}}
    return parse_catalogue(yaml.safe_dump(document, sort_keys=False))


@contextmanager
def index_of_torch(engine: DockerClient, variant: str, folders: pytest.TempPathFactory) -> Iterator[None]:
    """Serve torch's CPU build to the builds, as an index of its own, unless the environment names one already."""
    if variant != "torch" or "TORCH_INDEX_URL" in os.environ:
        yield
        return
    index = folders.mktemp("index")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
         "--dest", index / "torch", "--requirement", ROOT / "requirements-torch.lock"],
        check=True,
    )  # fmt: skip
    gateway = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    server = ThreadingHTTPServer((gateway, 0), functools.partial(SimpleHTTPRequestHandler, directory=str(index)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TORCH_INDEX_URL", f"http://{gateway}:{server.server_port}/")
        environment.setenv("PIP_TRUSTED_HOST", gateway)
        yield
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def added(built: Built) -> dict[str, int]:
    """Return every file that the first service's image has and its base image has not, with its size."""
    listing = ["find", "/", "-xdev", "-type", "f", "-printf", "%s %p\\n"]
    below, image = (
        dict(reversed(line.split(" ", 1)) for line in built.run(name, *listing, user="0").splitlines())
        for name in (built.catalogue.base_image, built.tag(SERVICES[0]))
    )
    return {path: int(size) for path, size in image.items() if path not in below}


def test_nothing_that_compiles_tests_or_was_only_on_the_way_is_left(built: Built, added: dict[str, int]) -> None:
    left = [
        path
        for path in added
        if COMPILER.search(path) or (LEFT_BEHIND.search(path) and not BROUGHT_BY_TORCH.search(path))
    ]
    assert left == []
    assert len(added) > 500


def test_no_byte_is_written_that_is_not_there_in_the_end(built: Built, added: dict[str, int]) -> None:
    """A file that a later layer deletes, changes or gives to another owner would be paid and not seen."""
    assert built.over_base_bytes[SERVICES[0]] == pytest.approx(sum(added.values()), rel=0.01)


def test_no_pip_is_left_anywhere(built: Built) -> None:
    words = (
        "import importlib.util as u, shutil, sys; print(u.find_spec('pip'), shutil.which('pip'), shutil.which('cc'))"
    )
    assert built.run(built.tag(SERVICES[0]), "python", "-c", words) == "None None None\n"
    assert built.run(built.tag(SERVICES[0]), "/usr/bin/env", "-i", "/usr/local/bin/python", "-c", words).startswith(
        "None"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_a_small_layer_on_the_shared_base(built: Built, service: str) -> None:
    base, image = built.layers(built.base), built.layers(built.tag(service))
    assert image[: len(base)] == base
    sizes = [int(layer["Size"]) for layer in built.engine.images.get(built.tag(service)).history()]
    assert sum(sizes[: len(sizes) - len(built.engine.images.get(built.base).history())]) < 1_000_000
    assert built.over_base_bytes[service] <= parse_size(VARIANTS[built.variant])


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_as_nobody_in_particular(built: Built, service: str) -> None:
    assert built.engine.images.get(built.tag(service)).attrs["Config"]["User"] == "10001:10001"
    assert built.run(built.tag(service), "id", "-u") == "10001\n"


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_says_what_it_is_and_what_it_stands_on(built: Built, service: str) -> None:
    labels = built.engine.images.get(built.tag(service)).labels
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert labels["org.opencontainers.image.title"] == service
    assert labels["org.opencontainers.image.revision"][:40] == commit.stdout.strip()
    assert labels["org.opencontainers.image.base.name"] == built.base
    assert labels["org.opencontainers.image.base.digest"] == built.engine.images.get(built.base).id
    assert re.match(r"20\d\d-\d\d-\d\dT", labels["org.opencontainers.image.created"])
    base_labels = built.engine.images.get(built.base).labels
    assert base_labels["org.opencontainers.image.base.name"] == built.catalogue.base_image
    assert base_labels["org.opencontainers.image.base.digest"].startswith("sha256:")


def test_a_variant_answers_with_a_read_only_root_and_no_device(built: Built, tmp_path: Path) -> None:
    """No GPU is given to it: the GPU's image computes on the CPU then, and says so in /health and once in its log."""
    tiny_models(tmp_path).chmod(0o644)
    tmp_path.chmod(0o755)
    container = built.engine.containers.run(
        built.tag(SERVICES[0]),
        detach=True,
        read_only=True,
        tmpfs={"/tmp": ""},  # noqa: S108 - inside
        cap_drop=["ALL"],
        volumes={str(tmp_path): {"bind": "/models", "mode": "ro"}},
        environment={"MODELS_MANIFEST": "/models/models.toml"},
    )
    try:
        asked = (
            "import json, os, time, urllib.request as request\n"
            "for _ in range(200):\n"
            "    try:\n"
            "        print(request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health').read().decode())\n"
            "        break\n"
            "    except OSError:\n"
            "        time.sleep(0.1)\n"
        )
        answer = container.exec_run(["python", "-c", asked]).output.decode()
        logs = container.logs().decode()
    finally:
        container.remove(force=True)
    assert answer, logs
    health = json.loads(answer)
    assert (health["status"], {model["device"] for model in health["models"]}) == ("healthy", {"cpu"}), logs
    assert ("no_gpu" in logs) == (built.variant == "gpu"), logs


def test_the_gpu_s_image_holds_every_library_that_it_loads_but_the_driver_s(built: Built) -> None:
    if built.variant != "gpu":
        pytest.skip("only the gpu variant holds CUDA")
    script = (
        "cd /opt/venv/lib/python3*/site-packages; "
        "for file in onnxruntime/capi/*.so nvidia/*/lib/*.so*; do ldd $file; done | grep 'not found' | sort -u"
    )
    assert built.run(built.tag(SERVICES[0]), "sh", "-c", script).split() == ["libcuda.so.1", "=>", "not", "found"]
    # opened by name at run time, which ldd does not see: cuDNN (which opens its own parts) and the run-time compiler
    opened = "import ctypes; [ctypes.CDLL(name) for name in ('libcudnn.so.9', 'libcudnn_graph.so.9', 'libnvrtc.so.13')]"
    assert built.run(built.tag(SERVICES[0]), "python", "-c", opened) == ""


def test_the_torch_image_holds_torch_s_cpu_build(built: Built) -> None:
    if built.variant != "torch":
        pytest.skip("only the torch variant holds torch")
    code = "import torch, onnxruntime; print(torch.__version__, torch.ones(2) @ torch.ones(2))"
    assert re.match(r"\S+\+cpu tensor\(2\.\)\n", built.run(built.tag(SERVICES[0]), "python", "-c", code))
    names = [
        layer["CreatedBy"] for layer in built.engine.images.get(built.base).history() if layer["Size"] > 50_000_000
    ]
    assert ["torch-$build.lock" in name for name in names[:2]] == [False, True], "torch's layer lies below the rest"
