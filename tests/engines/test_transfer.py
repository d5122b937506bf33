"""Objects read over plain connections: encrypted, through a proxy, redirected, and when a connection breaks."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from tests.support.object_server import BUCKET, ObjectServer, object_server
from trimtab.errors import ProgramError
from trimtab.storage.caches import materialise
from trimtab.storage.folders import MANIFEST, encode_manifest
from trimtab.storage.manifests import FileEntry
from trimtab.storage.objects import Place
from trimtab.storage.transfer import ObjectReader
from trimtab.storage.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

PLACE = Place(bucket=BUCKET, prefix="gulls/")
CONTENT = b"herring" * 1000


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as running:
        entry = FileEntry(path="a.bin", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
        running.put("gulls/a.bin", CONTENT)
        running.put(f"gulls/{MANIFEST}", encode_manifest((entry,)))
        yield running


def client_at(endpoint: str, *, verify: bool | str | None = None, **config: Any) -> tuple[S3Client, list[str]]:
    """Return a client, and what it is asked through boto3."""
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",  # noqa: S106 - it is checked by nobody
        verify=verify,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **config),
    )
    asked: list[str] = []
    client.meta.events.register("before-send.s3.GetObject", lambda request, **_: asked.append(request.url))
    return client, asked


def read(client: S3Client, path: str = "a.bin") -> bytes:
    with closing(ObjectReader(client, PLACE)) as reader, reader.open(path) as chunks:
        return b"".join(bytes(chunk) for chunk in chunks)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a certificate for loopback, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gulls")])
    now, here = datetime.now(UTC), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([here]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    unencrypted = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path = tmp_path / "certificate.pem"
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted))
    return path


def test_an_encrypted_connection_is_checked_by_the_clients_own_certificates(
    server: ObjectServer, certificate: Path, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    endpoint = server.endpoint.replace("http:", "https:")
    for trusted in (str(certificate), False):
        client, through_boto3 = client_at(endpoint, verify=trusted)
        assert read(client) == CONTENT
        assert through_boto3 == []
    stranger, _ = client_at(endpoint, verify=True)
    with pytest.raises(ProgramError, match="failed"):
        materialise(stranger, PLACE, tmp_path / "cache")


def test_a_proxy_is_gone_through(server: ObjectServer) -> None:
    client, through_boto3 = client_at("http://s3.gulls.test", proxies={"http": server.endpoint})
    assert read(client) == CONTENT
    assert len(through_boto3) == 1


def test_an_answer_that_is_not_plain_is_asked_for_through_boto3(server: ObjectServer) -> None:
    server.refuse_once.add("gulls/a.bin")
    client, through_boto3 = client_at(server.endpoint)
    assert read(client) == CONTENT
    assert len(through_boto3) == 1


def test_a_connection_that_the_server_dropped_meanwhile_is_made_anew(server: ObjectServer, tmp_path: Path) -> None:
    server.cut_after["gulls/a.bin"] = 100
    client, _ = client_at(server.endpoint)
    assert verify(client, PLACE).problems == ()
    server.cut_after["gulls/a.bin"] = 0
    assert (materialise(client, PLACE, tmp_path / "cache").path / "a.bin").read_bytes() == CONTENT
    assert server.cut_after == {}
