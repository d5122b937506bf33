"""`trimtab infra destroy` as a script calls it, on an embedded AWS whose bucket holds data."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import ROOT, environment, trimtab, write_project
from tests.support.embedded import embedded_aws


def test_off_a_terminal_destroy_with_data_is_refused_without_its_bucket_s_name(tmp_path: Path) -> None:
    catalogue = write_project(tmp_path) / "trimtab.yaml"
    with embedded_aws(tmp_path / "state" / "aws") as running:
        here = environment(TRIMTAB_ROOT=str(ROOT), TRIMTAB_STATE=str(tmp_path / "state"))
        words = ("--embedded", "--catalogue", str(catalogue))
        assert trimtab("infra", "up", *words, cwd=tmp_path, env=here).code == 0
        s3 = running.operator_client("s3", region="eu-north-1")
        s3.put_object(Bucket="harbour-charts-dev", Key="chart", Body=b"depths")
        ended = trimtab("infra", "destroy", "--with-data", *words, cwd=tmp_path, env=here)
        assert ended.code == 2
        assert "the data in the bucket harbour-charts-dev is not deleted without its name" in ended.err
        assert s3.get_object(Bucket="harbour-charts-dev", Key="chart")["Body"].read() == b"depths"
