"""ci.yml and infra.yml, run by act as GitHub would run them; and what a job does to become a role on AWS."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support import catalogues
from tests.support.act import Checkout
from tests.support.harbour import harbour
from tests.support.worlds import everything_text

pytestmark = pytest.mark.xdist_group("engine")

ONE_FILE = {"PYTEST_ADDOPTS": "tests/unit/test_units.py -p no:cacheprovider"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Give the tree with the harbour's catalogue. scripts/check is a stand-in, and nothing large is installed."""
    made = Checkout(tmp_path_factory.mktemp("act"), catalogue=catalogues.text())
    (made.root / "scripts" / "check").write_text('#!/usr/bin/env bash\necho "checked"\nexit "${CHECK_ENDS_WITH:-0}"\n')
    for name in ("setup-scanner", "setup-iam-simulate"):
        (made.root / "scripts" / name).write_text("#!/usr/bin/env bash\n")
    made.commit()
    return made


def test_ci_is_green_when_checks_and_tests_are(checkout: Checkout) -> None:
    run = checkout.act("ci", "pull_request", env=ONE_FILE)
    assert (run.code, run.job("check"), run.job("test"), run.job("all-green")) == (0, *["success"] * 3), run.told()
    assert "passed" in run.printed("test")


def test_ci_is_not_green_when_a_check_fails_though_the_tests_pass(checkout: Checkout) -> None:
    run = checkout.act("ci", "push", env={**ONE_FILE, "CHECK_ENDS_WITH": "1"})
    assert (run.job("check"), run.job("test"), run.job("all-green")) == ("failure", "success", "failure"), run.told()
    told = run.printed("all-green").removeprefix("not green: ").split()
    assert sorted(told) == ["failure", "success"]  # act knows no order of them
    assert run.code != 0


def test_infra_applies_compares_and_takes_away_the_stack_without_an_account(checkout: Checkout) -> None:
    run = checkout.act("infra", "pull_request")
    assert (run.code, run.job("embedded")) == (0, "success"), run.told()
    assert "Stack dev: nothing to change" in run.printed("embedded")
    assert "job tides" in run.summary("embedded")


class _TokenServer(ThreadingHTTPServer):
    asked: str = ""
    token: str = ""


class _Tokens(BaseHTTPRequestHandler):
    """Gives a token to whoever brings the job's own, as GitHub does."""

    def do_GET(self) -> None:
        assert isinstance(self.server, _TokenServer)
        self.server.asked = parse_qs(urlsplit(self.path).query)["audience"][0]
        is_ours = self.headers["Authorization"] == "bearer of-the-job"
        body = json.dumps({"value": self.server.token} if is_ours else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def token_server(token: str) -> Iterator[_TokenServer]:
    server = _TokenServer(("127.0.0.1", 0), _Tokens)
    server.token = token
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_job_becomes_its_role_by_a_token_and_keeps_the_keys_in_a_file(tmp_path: Path) -> None:
    """The stand-ins: GitHub's token is one that the embedded AWS takes, and the role is one that it gives for that.

    As far as it goes here: Pulumi's own engine cannot be had, so the step behind the sign-in fails, and says so.
    """
    made = Checkout(tmp_path, catalogue=everything_text("s3"))
    made.commit()
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"repo": {"full_name": "harbour/charts"}}}}))
    with harbour(tmp_path / "aws") as stack, token_server(token := stack.token().reveal()) as server:
        run = made.act(
            "infra",
            "pull_request",
            variables={"TRIMTAB_GITHUB_ROLE_ARN_PREVIEW": stack.role_arn},
            secrets={"PULUMI_CONFIG_PASSPHRASE": "anchors aweigh"},
            env={
                "GITHUB_REPOSITORY": "harbour/charts",
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_port}/token?api-version=2",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
                "AWS_ENDPOINT_URL": stack.aws.endpoint_url,
            },
            options=("--eventpath", str(event), "--job", "preview"),
        )
        assert server.asked == "sts.amazonaws.com", run.told()
    assert f"signed in as {stack.role_arn}" in run.printed("preview"), run.told()
    assert run.job("preview") == "failure"
    assert run.step("preview", "Preview") == "failure"
    assert token not in run.told()
    assert "anchors aweigh" not in run.told()
