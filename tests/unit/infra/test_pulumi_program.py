"""`python -m infra.pulumi_cli VERB`, whole: the arguments, a `pulumi` that answers, and an AWS that answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import pytest

from infra.pulumi_cli import main
from tests.support.answering import Answer, answering
from tests.support.catalogues import text
from tests.support.pulumi import AnsweringPulumi

BUCKET: Final = {
    "urn": "urn:pulumi:dev::trimtab::trimtab:infra:DataBucket$aws:s3/bucket:Bucket::data-bucket",
    "type": "aws:s3/bucket:Bucket",
    "id": "harbour-charts-dev",
    "custom": True,
}
PROVIDER: Final = {"urn": "urn:pulumi:dev::trimtab::pulumi:providers:aws::aws", "type": "pulumi:providers:aws"}
OUTPUTS: Final = {"bucket": "harbour-charts-dev", "modal_role_arns": {"tides": "arn:aws:iam::1:role/tides"}}
CREATED: Final = {"steps": [{"op": "create", "urn": BUCKET["urn"], "newState": BUCKET}]}
_VERSIONS: Final = b"""<ListVersionsResult><Name>harbour-charts-dev</Name>
<Version><Key>k</Key><VersionId>v</VersionId></Version></ListVersionsResult>"""
_REFUSAL: Final = b"<Error><Code>ExpiredToken</Code><Message>the token has expired</Message></Error>"
_ANSWERS: Final = {
    "GetCallerIdentity": "<Account>111122223333</Account>",
    "GetOpenIDConnectProvider": "<Url>oidc.modal.com</Url><ClientIDList><member>oidc.modal.com</member></ClientIDList>",
}


class Called:
    """Runs the program with a `pulumi` of its own, and an AWS that holds one object and Modal's provider."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.asked: list[str] = []
        self.is_refusing = False
        self.pulumi = AnsweringPulumi(folder)
        self._folder, self._environment, self._capture = folder, monkeypatch, capture

    def aws(self, path: str, body: bytes) -> Answer:
        """Answer as the services do, as far as the verbs ask."""
        action = parse_qs(body.decode()).get("Action", [""])[0]
        self.asked.append(action or path)
        if self.is_refusing:
            return Answer(403, _REFUSAL)
        if not action:
            return Answer(200, _VERSIONS)
        return Answer(
            200, f"<{action}Response><{action}Result>{_ANSWERS[action]}</{action}Result></{action}Response>".encode()
        )

    def run(self, *words: str, **answers: Any) -> tuple[int, dict[str, Any]]:
        """Run a verb, and return its exit code and its document."""
        self.pulumi = AnsweringPulumi(self._folder, **answers)
        self._environment.setenv("PATH", self.pulumi.path)
        code = main([*words, "--json", "--catalogue", str(self._folder / "trimtab.yaml")])
        return code, json.loads(self._capture.readouterr().out)


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Called]:
    called = Called(tmp_path, monkeypatch, capsys)
    (tmp_path / "trimtab.yaml").write_text(text())
    with answering(called.aws) as address:
        for name, value in {
            "PULUMI_BACKEND_URL": "file:///somewhere",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "of nobody",
            "AWS_ENDPOINT_URL": address,
        }.items():
            monkeypatch.setenv(name, value)
        yield called


def test_preview_says_what_up_would_do(called: Called) -> None:
    code, document = called.run("preview", refresh={}, preview=CREATED)
    assert code == 0
    assert [(c["action"], c["id"]) for c in document["changes"]] == [("create", "harbour-charts-dev")]
    assert called.pulumi.verbs == ["select", "refresh", "preview"]


def test_up_applies_and_tells_the_outputs(called: Called) -> None:
    code, document = called.run("up", refresh={}, preview=CREATED, output=OUTPUTS)
    assert (code, document["outputs"], document["engine"]) == (0, OUTPUTS, "pulumi")
    assert called.pulumi.verbs == ["select", "refresh", "preview", "up", "output"]


def test_outputs_only_reads(called: Called) -> None:
    assert called.run("outputs", output=OUTPUTS)[1]["outputs"] == OUTPUTS
    assert called.pulumi.verbs == ["output"]
    assert called.asked == []


def test_drift_is_5_and_nothing_is_applied(called: Called) -> None:
    gone = {"steps": [{"op": "delete", "urn": BUCKET["urn"], "oldState": BUCKET}]}
    code, document = called.run("drift", refresh=gone, preview={})
    assert (code, document["error"]["exit"]) == (5, 5)
    assert called.pulumi.verbs == ["select", "refresh", "preview"]


def test_import_asks_whose_account_it_is_and_adopts_what_was_named(called: Called) -> None:
    export = {"deployment": {"resources": [PROVIDER]}}
    code, document = called.run("import", "--resource", "modal-provider", refresh={}, preview={}, export=export)
    assert (code, document["changes"]) == (0, [])
    assert called.asked == ["GetCallerIdentity", "GetOpenIDConnectProvider"]
    assert called.pulumi.verbs == ["select", "export", "import", "select", "refresh", "preview"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "the bucket harbour-charts-dev is not empty"),
        (("--with-data",), "is not deleted without its name"),
        (("--with-data", "--confirm", "harbour-charts-prod"), "is not deleted without its name"),
    ],
)
def test_destroy_keeps_a_bucket_with_data_that_nobody_named(called: Called, words: tuple[str, ...], what: str) -> None:
    code, document = called.run("destroy", *words, export={"deployment": {"resources": [BUCKET]}})
    assert code == 2
    assert what in document["error"]["what"]
    assert called.pulumi.verbs == ["export"]


def test_destroy_of_what_was_never_made_goes_through(called: Called) -> None:
    code, document = called.run("destroy", export={"deployment": {}})
    assert (code, document["changes"]) == (0, [])
    assert called.pulumi.verbs == ["export", "destroy"]


def test_a_stack_that_the_house_does_not_know_is_no_argument(called: Called) -> None:
    with pytest.raises(SystemExit) as ended:
        called.run("up", "--stack", "staging")
    assert ended.value.code == 2
    assert called.pulumi.verbs == []


def test_an_aws_that_refuses_is_another_program_s_failure_in_its_own_words(called: Called) -> None:
    called.is_refusing = True
    code, document = called.run("destroy", export={"deployment": {"resources": [BUCKET]}})
    assert code == 4
    assert "ExpiredToken" in document["error"]["why"]
    assert "sign in" in document["error"]["next"]
    assert called.pulumi.verbs == ["export"]
