"""What images will take, before the first was built: from the sizes beside the lock and the services' own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.catalogues import catalogue
from trimtab.catalogue import load_catalogue
from trimtab.errors import UsageError
from trimtab.images.estimate import DeclaredModel, image_cost, read_declared, sizes_path
from trimtab.units import MIB

WHEELS = """
[wheels.numpy]
version = "2.0"
download_bytes = 1000
unpacked_bytes = 4000000
[wheels.pillow]
version = "11.0"
download_bytes = 1000
unpacked_bytes = 1000000
"""


def write(root: Path, text: str) -> None:
    path = sizes_path(root, "cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_base_is_declared_by_what_it_was_measured_to_keep(tmp_path: Path) -> None:
    write(tmp_path, f"[base]\nkept_bytes = 3000000\nmemory_bytes = 70\n{WHEELS}")
    assert read_declared(tmp_path, catalogue()).bases == {"cpu": image_cost(3_000_000, memory_bytes=70)}


def test_a_base_that_was_never_measured_is_declared_by_its_wheels(tmp_path: Path) -> None:
    write(tmp_path, f"[base]\n{WHEELS}")
    assert read_declared(tmp_path, catalogue()).bases == {"cpu": image_cost(5_000_000)}


def test_a_lock_without_sizes_declares_nothing(tmp_path: Path) -> None:
    assert read_declared(tmp_path, catalogue()).bases == {}


@pytest.mark.parametrize("text", ["not toml", "[other]\n", "[base]\n", "base = 1\n", "[base]\nkept_bytes = 'x'\n"])
def test_sizes_that_make_no_sense_are_refused_with_2(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(UsageError, match=r"the sizes in .*sizes-cpu\.toml cannot be read") as caught:
        read_declared(tmp_path, catalogue())
    assert "scripts/lock" in caught.value.remedy


def test_a_service_is_declared_by_what_its_image_copies_and_by_its_models(tmp_path: Path) -> None:
    folder = tmp_path / "services" / "gulls"
    folder.mkdir(parents=True)
    manifest = '[packages.p]\nbytes = 9\n[models.m]\nfile = "m"\nbytes = 7\nsource.package = "p"\n'
    (folder / "models.toml").write_text(manifest)
    (folder / "golden.jpg").write_bytes(b"x" * 10 * MIB)
    serving = tmp_path / "services" / "serving"
    (serving / "__pycache__").mkdir(parents=True)
    (serving / "app.py").write_bytes(b"x" * MIB)
    (serving / "__pycache__" / "app.pyc").write_bytes(b"x" * MIB)
    declared = read_declared(tmp_path, catalogue())
    assert declared.services == {"gulls": image_cost(MIB + len(manifest))}
    assert declared.models == {"gulls": (DeclaredModel(file="m", size_bytes=7, package_bytes=9),)}


def test_every_variant_of_the_repository_has_its_sizes(root: Path) -> None:
    known = load_catalogue(root / "trimtab.yaml")
    variants = {variant for service in known.services.values() for variant in service.variants}
    declared = read_declared(root, known)
    assert set(declared.bases) == variants
    for service in known.services.values():
        for variant, section in service.variants.items():
            assert declared.bases[variant].kept_bytes < 1.1 * section.size_over_base


def test_every_service_of_the_repository_says_what_making_its_models_takes(root: Path) -> None:
    known = load_catalogue(root / "trimtab.yaml")
    for name, models in read_declared(root, known).models.items():
        assert models, name
        assert all(model.package_bytes > model.size_bytes for model in models)
