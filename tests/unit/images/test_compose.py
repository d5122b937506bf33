"""The compose files: valid by Compose's own schema, the same rights as a release, and never out of date unnoticed."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.catalogues import catalogue, plain
from tests.support.commands import trimtab, write_project
from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.images.compose import CPU, WHOLE, compose_files
from trimtab.images.container import ContainerSpec, run_arguments

SCHEMA = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
_RESET = object()


class _Loader(yaml.SafeLoader):
    """Reads `!reset` as Compose does."""


_Loader.add_constructor("!reset", lambda *_: _RESET)


def both() -> Catalogue:
    services = plain()["services"]
    services["gulls"]["variants"] = {"cpu": {"size_over_base": "10MB"}, "gpu": {"size_over_base": "2GB"}}
    services["terns"] = {**plain()["services"]["gulls"], "port": 9002, "limits": {"results": 7}}
    return catalogue(services=services)


def document(known: Catalogue, *names: str) -> dict[str, Any]:
    """Return what Compose makes of some of the files."""
    whole: dict[str, Any] = {}
    for name in names:
        _merge(whole, yaml.load(compose_files(known)[name], _Loader))  # noqa: S506 - a SafeLoader with one more tag
    return whole


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if value is _RESET:
            below.pop(key, None)
        elif isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = value


@pytest.mark.parametrize("names", [(WHOLE,), (WHOLE, CPU)])
def test_it_is_valid_by_compose_s_own_schema(names: tuple[str, ...]) -> None:
    jsonschema.validate(document(both(), *names), SCHEMA)


def test_a_service_has_the_rights_and_the_limits_of_a_release() -> None:
    known = both()
    gulls = document(known, WHOLE)["services"]["gulls"]
    spec = ContainerSpec(
        project=known.project,
        service="gulls",
        image="",
        release="",
        memory_bytes=known.services["gulls"].memory,
        models_volume="",
        environment={},
    )
    released = run_arguments(spec, number=1)
    for key in ("read_only", "cap_drop", "security_opt", "mem_limit", "memswap_limit", "pids_limit"):
        assert gulls[key] == released[key], key
    assert gulls["logging"] == {"driver": "json-file", "options": released["log_config"]["config"]}
    assert gulls["ports"] == ["127.0.0.1:9001:8000"]
    assert gulls["volumes"][0]["read_only"]
    assert gulls["environment"]["MAX_RESULTS"] == "100"
    assert document(known, WHOLE)["services"]["terns"]["environment"]["MAX_RESULTS"] == "7"
    assert gulls["healthcheck"]["start_period"] == "20s"


def test_the_largest_variant_is_taken_and_the_override_makes_it_a_cpu_one() -> None:
    whole = document(both(), WHOLE)["services"]
    assert whole["gulls"]["image"] == "${GULLS_IMAGE:-harbour/gulls:gpu}"
    assert whole["gulls"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert whole["terns"]["image"] == "${TERNS_IMAGE:-harbour/terns:cpu}"
    assert "deploy" not in whole["terns"]
    on_cpu = document(both(), WHOLE, CPU)["services"]
    assert on_cpu["gulls"]["image"] == "${GULLS_IMAGE:-harbour/gulls:cpu}"
    assert all("deploy" not in service for service in on_cpu.values())


def test_a_drift_is_found_with_5_and_mended_by_the_command_that_is_named(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    assert trimtab("images", "compose", "--check", cwd=root).code == 5
    written = trimtab("images", "compose", "--json", cwd=root)
    assert written.document["written"] == [WHOLE, CPU]
    assert trimtab("images", "compose", "--check", cwd=root).code == 0
    file = root / "deploy" / "compose" / WHOLE
    file.write_text(file.read_text().replace("read_only: true", "read_only: false"))
    drifted = trimtab("images", "compose", "--check", cwd=root)
    assert drifted.code == 5
    assert "-    read_only: false" in drifted.err
    assert "`trimtab images compose` writes it" in drifted.err
    assert trimtab("images", "compose", "--json", cwd=root).document["written"] == [WHOLE]
    assert trimtab("images", "compose", "--json", cwd=root).document["written"] == []


def test_another_folder_is_written_on_demand(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    assert trimtab("images", "compose", "--out", str(tmp_path / "a" / "b"), cwd=root).code == 0
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {WHOLE, CPU}


def test_the_files_of_this_project_are_what_its_catalogue_says(root: Path) -> None:
    for name, text in compose_files(load_catalogue(root / "trimtab.yaml")).items():
        assert (root / "deploy" / "compose" / name).read_text() == text, "trimtab images compose"
