"""Launches: one small file each, whole, listed; a broken one hides none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from tests.support.registry_of_runs import launch
from trimtab.storage.launches import Launch, encoded, list_launches, write_launch

if TYPE_CHECKING:
    from pathlib import Path


def test_a_launch_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = write_launch(tmp_path, launch())
    assert path == tmp_path / "launches" / "fc-1.json"
    assert list_launches(tmp_path).launches == (launch(),)
    assert path.read_bytes() == encoded(launch())
    assert [one.name for one in path.parent.iterdir()] == ["fc-1.json"]


def test_launches_are_listed_newest_first_and_a_broken_one_hides_none(tmp_path: Path) -> None:
    for minute, call in enumerate(("fc-1", "fc-3", "fc-2")):
        write_launch(tmp_path, launch(call_id=call, minutes=minute))
    (tmp_path / "launches" / "torn.json").write_text('{"format": "trimtab-lau')
    found = list_launches(tmp_path)
    assert [one.call_id for one in found.launches] == ["fc-2", "fc-3", "fc-1"]
    assert "torn.json" in found.unreadable[0]
    assert list_launches(tmp_path / "nowhere") == ((), ())


@pytest.mark.parametrize(
    ("key", "value"), [("call_id", "../../x"), ("app_id", "ap-1; rm"), ("max_usd", -1.0), ("more", 1), ("server", "x")]
)
def test_what_is_no_launch_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        Launch.model_validate({**json.loads(encoded(launch())), key: value})
