"""The configuration: every problem at once, by its path; no resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.training import SMALL, small_config
from training.classifier.config import Config
from training.harness.config import load_config
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_every_configuration_of_the_repository_loads(root: Path) -> None:
    found = sorted([*root.glob("configs/*/classifier*.yaml"), *root.glob("configs/*/fashion.yaml")])
    assert found
    for path in found:
        load_config(path, Config)


def test_a_loaded_configuration_holds_what_the_file_says(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path / "config.yaml", seed=3), Config)
    assert (config.seed, config.optimisation.epochs, config.pictures.side) == (3, 6, 8)


def test_every_problem_is_told_at_once_with_its_path_and_the_nearest_key(tmp_path: Path) -> None:
    path = small_config(
        tmp_path / "config.yaml",
        sed=1,
        threads="two",
        optimisation={"epoch": 3, "learning_rate": -1.0, "batch_size": 0},
        pictures={"side": 7, "channels": 2},
    )
    with pytest.raises(UsageError, match="7 problems") as caught:
        load_config(path, Config)
    for expected in (
        "sed: unknown key; did you mean 'seed'?",
        "threads: input should be a valid integer (it is 'two')",
        "optimisation.epoch: unknown key; did you mean 'epochs'?",
        "optimisation.learning_rate: input should be greater than 0",
        "optimisation.batch_size:",
        "pictures.side:",
        "pictures.channels:",
    ):
        assert expected in caught.value.why


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    content: dict[str, Any] = {**SMALL, "pictures": {"side": 8}}
    del content["seed"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "config.yaml", Config)
    assert "seed: is missing" in caught.value.why
    assert "pictures.channels: is missing" in caught.value.why


@pytest.mark.parametrize("key", ["gpu", "cpu", "memory", "timeout", "GPU", "gpus", "memory_mib", "timeout_s"])
@pytest.mark.parametrize("section", [None, "optimisation"])
def test_resources_are_refused_and_their_home_is_named(tmp_path: Path, key: str, section: str | None) -> None:
    changes: dict[str, Any] = {section: {key: 1}} if section else {key: 1}
    with pytest.raises(UsageError, match="asks for resources") as caught:
        load_config(small_config(tmp_path / "config.yaml", **changes), Config)
    assert (f"{section}.{key}" if section else key) in caught.value.what
    assert "deploy/modal/" in caught.value.remedy


@pytest.mark.parametrize("content", ["", "- 1", "a: [", "just text", "\x00", "a: &a [*a]"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        load_config(tmp_path / "config.yaml", Config)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml cannot be read"):
        load_config(tmp_path / "none.yaml", Config)
