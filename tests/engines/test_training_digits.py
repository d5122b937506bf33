"""The demo's training as it is shipped: accurate, quick, and the same twice."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from training.classifier.__main__ import main
from training.classifier.digits import digit_files
from training.pictures.layout import lay_out

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_digits_are_told_apart_within_a_minute(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path / "digits", digit_files())
    config = root / "configs" / "local" / "classifier.yaml"
    command = ["--config", str(config), "--data", str(tmp_path / "digits"), "--results", str(tmp_path / "r"), "--json"]
    began = time.monotonic()
    assert main(command) == 0
    assert time.monotonic() - began < 60
    result = json.loads(capsys.readouterr().out)
    assert result["final"]["test_accuracy"] >= 0.985
    assert sum(map(sum, result["final"]["confusion"])) == 359
