"""How a bucket is mounted, and what a job without a role is told."""

from __future__ import annotations

import pytest

from deploy.modal.desk import Bucket
from trimtab.errors import UsageError

BUCKET = Bucket(name="harbour-charts-dev", region="eu-north-1", role_arns={"tides": "arn:aws:iam::1:role/tides"})


def test_a_job_without_a_role_is_refused_and_told_how_to_have_one() -> None:
    assert BUCKET.mount("tides", "datasets/tides/", read_only=True)
    with pytest.raises(UsageError, match="job gulls has no role") as caught:
        BUCKET.mount("gulls", "datasets/gulls/", read_only=True)
    assert "roles for tides" in caught.value.why
    assert "trimtab infra up" in caught.value.remedy
