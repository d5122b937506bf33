"""Emptying a bucket: every page of it, and never for ever."""

from __future__ import annotations

from typing import Any

import pytest

from infra.kinds.s3 import empty, is_empty
from tests.support.fake_s3 import FakeS3
from trimtab.errors import ProgramError


@pytest.mark.parametrize("versions", [0, 1, 1000, 2500])
def test_every_version_of_every_page_goes(versions: int) -> None:
    s3: Any = FakeS3(versions)
    assert empty(s3, "harbour") == versions
    assert is_empty(s3, "harbour")


def test_a_version_that_cannot_be_deleted_is_named_instead_of_tried_for_ever() -> None:
    s3: Any = FakeS3(3, held=1)
    with pytest.raises(ProgramError, match="k0 stays in the bucket harbour"):
        empty(s3, "harbour")
