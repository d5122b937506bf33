"""Which Pulumi is called, how it comes to be there, and whether there are credentials: on this machine's own terms."""

from __future__ import annotations

import gc
import http.client
import io
import socket
import urllib.request
import urllib.response
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pulumi._version import version

from infra.pulumi_setup import has_aws_credentials, installed_pulumi
from tests.support.pulumi import pulumi_that_tells
from trimtab.errors import ToolMissingError, UsageError

_INSTALLS: Final = f"""\
#!/bin/sh
while [ "$1" != --install-root ]; do shift; done
mkdir -p "$2/bin"
printf '#!/bin/sh\\necho v{version}\\n' > "$2/bin/pulumi"
chmod +x "$2/bin/pulumi"
"""
_FAILS: Final = "#!/bin/sh\necho 'no room for the archive' >&2\nexit 1\n"
TOOLS: Final = "/usr/bin:/bin"


class _Answering(urllib.request.HTTPSHandler):
    """Answers every https request with a script, or as a closed network does where there is none."""

    def __init__(self, script: str | None) -> None:
        super().__init__()
        self._script = script
        self.asked: list[str] = []
        self.timeouts_s: list[float | None] = []

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Answer."""
        self.asked.append(request.full_url)
        self.timeouts_s.append(socket.getdefaulttimeout())
        if self._script is None:
            raise OSError("the network is closed")
        answer = urllib.response.addinfourl(io.BytesIO(self._script.encode()), http.client.HTTPMessage(), "", 200)
        answer.msg = "OK"  # type: ignore[attr-defined]  # the opener reads it off the answer
        return answer  # type: ignore[return-value]  # what an opener needs of one


class Network:
    """What get.pulumi.com answers with, for one test."""

    def __init__(self) -> None:
        self.handler = _Answering(None)

    def answers(self, script: str | None) -> None:
        """Have the installer's address answer with a script."""
        self.handler = _Answering(script)
        urllib.request.install_opener(urllib.request.build_opener(self.handler))


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.answers(None)
    yield network
    urllib.request.install_opener(urllib.request.build_opener())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: Network) -> Path:
    """Give a home and a PATH without any Pulumi, and no network."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{TOOLS}")
    monkeypatch.delenv("PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK", raising=False)
    return tmp_path


def our_own(home: Path) -> Path:
    return home / ".pulumi" / "versions" / str(version) / "bin" / "pulumi"


def test_one_on_path_that_is_new_enough_is_taken(home: Path, network: Network) -> None:
    found = pulumi_that_tells(home / "bin" / "pulumi")
    assert installed_pulumi() == str(found)
    assert network.handler.asked == []


@pytest.mark.parametrize("its_version", ["2.0.0", "not a version"])
def test_one_on_path_that_is_too_old_or_broken_gives_way_to_our_own(
    home: Path, network: Network, its_version: str
) -> None:
    pulumi_that_tells(home / "bin" / "pulumi", its_version)
    own = pulumi_that_tells(our_own(home))
    assert installed_pulumi() == str(own)
    assert network.handler.asked == []


def test_where_there_is_none_the_sdk_s_own_version_is_installed_once(home: Path, network: Network) -> None:
    network.answers(_INSTALLS)
    assert installed_pulumi() == str(our_own(home))
    assert installed_pulumi() == str(our_own(home))
    assert network.handler.asked == ["https://get.pulumi.com/install.sh"]


def test_the_download_has_a_limit_and_nobody_else_s_is_changed(home: Path, network: Network) -> None:
    network.answers(_INSTALLS)
    before_s = socket.getdefaulttimeout()
    assert installed_pulumi().startswith(str(home))
    assert network.handler.timeouts_s == [20.0]
    assert socket.getdefaulttimeout() == before_s


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the SDK leaves open what it downloads into
@pytest.mark.usefixtures("home")
def test_without_a_network_the_missing_tool_is_named_with_a_way_out() -> None:
    with pytest.raises(ToolMissingError, match="Pulumi CLI is not there") as refused:
        installed_pulumi()
    assert refused.value.exit_code == 3
    assert "the network is closed" in refused.value.why
    assert "--embedded" in refused.value.remedy
    assert socket.getdefaulttimeout() is None
    del refused
    gc.collect()  # so that the warning falls into this test, and not into another


@pytest.mark.usefixtures("home")
def test_an_installer_that_fails_is_quoted(network: Network) -> None:
    network.answers(_FAILS)
    with pytest.raises(ToolMissingError) as refused:
        installed_pulumi()
    assert refused.value.why.endswith("\nno room for the archive")


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take away whatever credentials this machine offers."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN",
                 "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


def test_credentials_in_the_environment_are_credentials(no_credentials: pytest.MonkeyPatch) -> None:
    assert not has_aws_credentials()
    no_credentials.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    no_credentials.setenv("AWS_SECRET_ACCESS_KEY", "of nobody")
    assert has_aws_credentials()


def test_a_profile_s_credentials_are_credentials(no_credentials: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[pilots]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = x\n")
    assert not has_aws_credentials()
    no_credentials.setenv("AWS_PROFILE", "pilots")
    assert has_aws_credentials()


def test_a_profile_that_is_not_there_is_named_and_refused(no_credentials: pytest.MonkeyPatch) -> None:
    no_credentials.setenv("AWS_PROFILE", "of-nobody")
    with pytest.raises(UsageError, match="cannot be read") as refused:
        has_aws_credentials()
    assert "of-nobody" in refused.value.why
    assert "AWS_PROFILE" in refused.value.remedy
