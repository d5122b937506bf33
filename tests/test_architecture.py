"""The arrows of the design, read from the imports; the one place that starts programs; the one place of each name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.architecture import Import, imports_of, mentions, python_files, started_programs, violations
from trimtab.catalogue import Catalogue, load_catalogue

# What a training job may know of the toolkit: files on a disk that it is given, and how failures are said.
FOR_TRAINING: Final = (
    "trimtab.errors",
    "trimtab.gpus",
    "trimtab.units",
    "trimtab.storage.backups",
    "trimtab.storage.checkpoint_manifests",
    "trimtab.storage.checkpoints",
    "trimtab.storage.checkpoints_bucket",
    "trimtab.storage.durable",
    "trimtab.storage.folders",
    "trimtab.storage.manifests",
    "trimtab.storage.packed",
    "trimtab.storage.prefixes",
    "trimtab.storage.published",
    "trimtab.storage.retention",
    "trimtab.storage.runs",
    "trimtab.storage.shards",
)
CLOUD: Final = ("boto3", "botocore", "docker", "modal", "moto", "pulumi", "pulumi_aws")
WIRING: Final = ("infra", "deploy", "workflows")
PAYLOAD: Final = ("services", "training")
NEVER_IN_THE_TOOLKIT: Final = ("pulumi", "pulumi_aws", "modal", "torch", "torchvision")
SLOW: Final = ("boto3", "botocore", "docker", "matplotlib", "moto", "numpy", "PIL", "requests", "rich")

STARTS_PROGRAMS: Final = {
    "src/trimtab/process.py": "the one place that starts another program",
    "src/trimtab/emulation/background.py": "starts no program: it forks to go on as a daemon when we have ended",
    "src/trimtab/emulation/modal/bucket_mount.py": "starts no program: it forks to serve a mount when we have ended",
    "src/trimtab/emulation/modal/namespace_entry.py": "forks, and becomes the attempt in its own namespaces",
}


def is_allowed_for_training(found: Import) -> bool:
    """Tell whether a job may import it. `from trimtab.storage.runs import x` also reads as trimtab.storage.runs.x."""
    return found.is_of(FOR_TRAINING) or found.module in {"trimtab", "trimtab.storage"}


def services_know_nothing_of_us(root: Path) -> tuple[str, ...]:
    return violations(
        root,
        "services",
        lambda found: found.is_of(("trimtab", "training", *WIRING, *CLOUD)),
        why="a service's image holds neither the toolkit nor a cloud",
    )


def training_knows_only_paths(root: Path) -> tuple[str, ...]:
    return violations(
        root,
        "training",
        lambda found: (
            found.is_of(("services", *WIRING, *CLOUD))
            or (found.is_of(("trimtab",)) and not is_allowed_for_training(found))
        ),
        why="a job knows only paths and configurations",
    )


def what_training_may_import_is_free_of_clouds(root: Path) -> tuple[str, ...]:
    wrong = []
    packages = ("trimtab/__init__.py", "trimtab/storage/__init__.py")
    modules = [f"{module.replace('.', '/')}.py" for module in FOR_TRAINING]
    for name in (*packages, *modules):
        for found in imports_of(root / "src" / name, root / "src"):
            if found.place == "typing":
                continue
            if found.is_of(CLOUD) or (found.is_of(("trimtab",)) and not is_allowed_for_training(found)):
                wrong.append(f"src/{name}:{found.line} imports {found.module}: training imports this module")
    return tuple(wrong)


def the_toolkit_knows_no_payload_and_no_wiring(root: Path) -> tuple[str, ...]:
    return violations(
        root,
        "src",
        lambda found: found.is_of((*PAYLOAD, *WIRING)),
        why="the toolkit runs payload and wiring as programs",
    )


def the_toolkit_never_imports_what_would_tie_it_down(root: Path) -> tuple[str, ...]:
    return violations(
        root, "src", lambda found: found.is_of(NEVER_IN_THE_TOOLKIT), why="the toolkit does without it, at any level"
    )


def what_is_slow_is_imported_where_it_is_used(root: Path) -> tuple[str, ...]:
    return violations(
        root,
        "src",
        lambda found: found.place == "module" and found.is_of(SLOW),
        why="at module level it is paid by every command, --help included",
    )


def infra_knows_no_payload(root: Path) -> tuple[str, ...]:
    return violations(root, "infra", lambda found: found.is_of(PAYLOAD), why="infra is about the account only")


def programs_are_started_in_one_place(root: Path) -> tuple[str, ...]:
    return tuple(
        f"{path.relative_to(root)}:{line} uses {call}: trimtab.process starts other programs"
        for path in python_files(root, "src", "infra")
        if path.relative_to(root).as_posix() not in STARTS_PROGRAMS
        for line, call in started_programs(path)
    )


ARROWS: Final = (
    services_know_nothing_of_us,
    training_knows_only_paths,
    what_training_may_import_is_free_of_clouds,
    the_toolkit_knows_no_payload_and_no_wiring,
    the_toolkit_never_imports_what_would_tie_it_down,
    what_is_slow_is_imported_where_it_is_used,
    infra_knows_no_payload,
    programs_are_started_in_one_place,
)


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow.__name__)
def test_the_tree_keeps_the_arrow(arrow: object, root: Path) -> None:
    assert callable(arrow)
    assert arrow(root) == ()


@pytest.mark.parametrize("path", STARTS_PROGRAMS)
def test_no_exception_is_kept_that_nobody_needs_any_more(path: str, root: Path) -> None:
    assert list(started_programs(root / path))


SAMPLES: Final = (
    (services_know_nothing_of_us, "services/gulls/app.py", "import trimtab.units\n"),
    (services_know_nothing_of_us, "services/gulls/app.py", "def f():\n    import boto3\n"),
    (services_know_nothing_of_us, "services/gulls/app.py", "from training import tides\n"),
    (training_knows_only_paths, "training/tides/run.py", "from trimtab.storage import objects\n"),
    (training_knows_only_paths, "training/tides/run.py", "from trimtab import images\n"),
    (training_knows_only_paths, "training/tides/run.py", "import trimtab.cli.main\n"),
    (training_knows_only_paths, "training/tides/run.py", "import importlib\nimportlib.import_module('modal')\n"),
    (training_knows_only_paths, "training/tides/run.py", "def f():\n    import boto3\n"),
    (what_training_may_import_is_free_of_clouds, "src/trimtab/storage/runs.py", "import boto3\n"),
    (what_training_may_import_is_free_of_clouds, "src/trimtab/storage/runs.py", "from trimtab import console\n"),
    (what_training_may_import_is_free_of_clouds, "src/trimtab/storage/__init__.py", "from .objects import x\n"),
    (the_toolkit_knows_no_payload_and_no_wiring, "src/trimtab/x.py", "from services.serving import app\n"),
    (the_toolkit_knows_no_payload_and_no_wiring, "src/trimtab/x.py", "def f():\n    import infra.embedded\n"),
    (the_toolkit_never_imports_what_would_tie_it_down, "src/trimtab/x.py", "def f():\n    import torch.nn\n"),
    (
        the_toolkit_never_imports_what_would_tie_it_down,
        "src/trimtab/x.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import modal\n",
    ),
    (what_is_slow_is_imported_where_it_is_used, "src/trimtab/x.py", "import docker\n"),
    (what_is_slow_is_imported_where_it_is_used, "src/trimtab/x.py", "try:\n    import rich.box\nexcept E:\n    pass\n"),
    (what_is_slow_is_imported_where_it_is_used, "src/trimtab/x.py", "class A:\n    import boto3\n"),
    (infra_knows_no_payload, "infra/x.py", "from services.serving import app\n"),
    (programs_are_started_in_one_place, "src/trimtab/x.py", "import subprocess\nsubprocess.run(['true'])\n"),
    (programs_are_started_in_one_place, "src/trimtab/x.py", "from subprocess import Popen\n"),
    (programs_are_started_in_one_place, "src/trimtab/x.py", "import os\nos.system('true')\n"),
    (programs_are_started_in_one_place, "infra/x.py", "import os\nos.execvp('true', ['true'])\n"),
)  # fmt: skip


@pytest.mark.parametrize(("arrow", "path", "text"), SAMPLES)
def test_a_bad_sample_breaks_the_arrow(arrow: object, path: str, text: str, tmp_path: Path) -> None:
    assert callable(arrow)
    for module in ("trimtab", "trimtab.storage"):
        _write(tmp_path / "src" / module.replace(".", "/") / "__init__.py", "")
    for module in FOR_TRAINING:
        _write(tmp_path / "src" / f"{module.replace('.', '/')}.py", "")
    assert arrow(tmp_path) == ()
    _write(tmp_path / path, text)
    wrong = arrow(tmp_path)
    assert wrong
    assert all(line.startswith(f"{path}:") for line in wrong)


def test_what_is_only_imported_for_types_or_in_a_function_is_not_slow(tmp_path: Path) -> None:
    _write(
        tmp_path / "src" / "x.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import docker\ndef f():\n    import boto3\n",
    )
    assert what_is_slow_is_imported_where_it_is_used(tmp_path) == ()


CATALOGUE_TEXT_ONLY_IN: Final = ("src", "infra", "deploy.sh", "scripts", "deploy", "workflows", ".ci", ".github")
"""Where no name of the catalogue may stand. Payload has folders of these names; docs and tests may speak of them."""


def names_of(catalogue: Catalogue) -> Iterator[str]:
    """Yield what only the catalogue names: the project, the bucket, Modal's app, services, jobs and ports."""
    yield from (catalogue.project, catalogue.bucket.name, catalogue.modal.app, catalogue.modal.workspace)
    yield from (*catalogue.services, *catalogue.jobs)
    yield from (str(service.port) for service in catalogue.services.values())
    for job in catalogue.jobs.values():
        yield from (job.data, job.results)


def is_rendered(path: Path) -> bool:
    """Tell whether a file is made from the catalogue, and so must hold its names; another test looks for drift."""
    with path.open("rb") as file:
        return path.suffix in {".yml", ".yaml"} and file.readline().startswith(b"# Rendered from trimtab.yaml by ")


def written_again(root: Path, catalogue: Catalogue) -> tuple[str, ...]:
    """Return `file:line writes NAME` for each name of the catalogue that stands elsewhere."""
    paths = [
        path
        for place in CATALOGUE_TEXT_ONLY_IN
        for path in ([root / place] if (root / place).is_file() else sorted((root / place).rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts and not is_rendered(path)
    ]
    return tuple(
        f"{path.relative_to(root)}:{line} writes {name}" for path, line, name in mentions(paths, names_of(catalogue))
    )


@pytest.fixture(scope="session")
def catalogue(root: Path) -> Catalogue:
    return load_catalogue(root / "trimtab.yaml")


def test_the_names_of_the_catalogue_stand_nowhere_else(root: Path, catalogue: Catalogue) -> None:
    assert written_again(root, catalogue) == ()


def test_what_is_rendered_from_the_catalogue_holds_its_names(tmp_path: Path, catalogue: Catalogue) -> None:
    name = next(names_of(catalogue))
    _write(tmp_path / ".github/workflows/x.yml", f"# Rendered from trimtab.yaml by `x`.\nname: {name}\n")
    _write(tmp_path / ".github/workflows/y.yml", f"# By hand.\nname: {name}\n")
    assert written_again(tmp_path, catalogue) == (f".github/workflows/y.yml:2 writes {name}",)


@pytest.mark.parametrize("path", ["src/trimtab/x.py", "infra/Pulumi.yaml", "deploy.sh", "scripts/x"])
def test_a_name_that_is_written_again_is_found(path: str, tmp_path: Path, catalogue: Catalogue) -> None:
    for name in names_of(catalogue):
        _write(tmp_path / path, f"# first line\nvalue = '{name}'\n")
        assert f"{path}:2 writes {name}" in written_again(tmp_path, catalogue)


def test_a_word_that_only_holds_a_name_is_another_word(tmp_path: Path, catalogue: Catalogue) -> None:
    words = [f"my-{name} {name}-x {name}s {name}_" for name in (*catalogue.services, *catalogue.jobs)]
    _write(tmp_path / "deploy.sh", "\n".join((*words, "180011 80010")))
    assert written_again(tmp_path, catalogue) == ()


CATALOGUE: Final = load_catalogue(Path(__file__).resolve().parent.parent / "trimtab.yaml")


@pytest.mark.parametrize("name", CATALOGUE.services)
def test_a_service_of_the_catalogue_has_all_that_it_needs(name: str, root: Path) -> None:
    folder = root / "services" / name
    assert tomllib.loads((folder / "models.toml").read_text())["models"]
    service = CATALOGUE.services[name]
    assert (root / service.golden.picture).is_file()
    assert service.golden.picture.startswith(f"services/{name}/")
    for variant in service.variants:
        assert (root / "services" / f"requirements-{variant}.lock").is_file()


@pytest.mark.parametrize("name", CATALOGUE.services)
def test_the_models_of_a_service_lie_under_the_bucket_s_models(name: str, root: Path) -> None:
    models = tomllib.loads((root / "services" / name / "models.toml").read_text())["models"]
    assert all(model["key"].startswith(CATALOGUE.bucket.models) for model in models.values())


@pytest.mark.parametrize("name", CATALOGUE.jobs)
def test_a_job_of_the_catalogue_has_all_that_it_needs(name: str, root: Path) -> None:
    assert (root / "training" / name / "__main__.py").is_file()
    job = CATALOGUE.jobs[name]
    assert (root / f"{job.source.replace('.', '/')}.py").is_file()
    assert job.source.startswith("training.")  # two jobs may learn from the same pictures
    assert yaml.safe_load((root / job.config).read_text())


@pytest.mark.parametrize("name", CATALOGUE.jobs)
def test_a_job_s_configuration_holds_no_resources(name: str, root: Path) -> None:
    keys = set(_keys(yaml.safe_load((root / CATALOGUE.jobs[name].config).read_text())))
    assert keys.isdisjoint({"gpu", "gpus", "cpu", "cpus", "memory", "timeout", "bucket", "region"})


def test_every_folder_of_a_service_or_a_job_is_in_the_catalogue(root: Path) -> None:
    services = {path.parent.name for path in (root / "services").glob("*/models.toml")}
    jobs = {path.parent.name for path in (root / "training").glob("*/__main__.py")}
    assert (services, jobs) == (set(CATALOGUE.services), set(CATALOGUE.jobs))


def test_no_module_is_a_drawer_for_everything(root: Path) -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    folders = ("src", "infra", "services", "training", "tests")
    assert [path for path in python_files(root, *folders) if path.name in drawers] == []


def test_every_module_says_its_place_in_its_first_line(root: Path) -> None:
    import ast

    silent = [
        str(path.relative_to(root))
        for path in python_files(root, "src", "infra", "services", "training")
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_internals_are_patched_nowhere(root: Path) -> None:
    """Our own fakes stand in for what is slow or far; patching would tie the tests to how the code is written."""
    wrong = [
        f"{path.relative_to(root)}:{found.line}"
        for path in python_files(root, "tests")
        for found in imports_of(path, root)
        if found.is_of(("unittest.mock", "mock", "pytest_mock"))
    ]
    assert wrong == []


def _keys(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield str(key)
            yield from _keys(value)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
