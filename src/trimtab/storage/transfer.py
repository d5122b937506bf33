"""Objects out of a bucket, thousands a second: plain GET requests, signed by botocore, on the client's own connections.

A call of boto3 costs over a millisecond of processor for what all operations of AWS have in common (finding the
endpoint, validating, events, parsing). Reading an object needs none of it. Whatever is not a plain answer (a redirect,
a refusal, a server in trouble) is asked for once more through the client, which knows redirects, retries and errors.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from trimtab.storage.objects import Place

CHUNK_BYTES: Final = 1024**2
_PROBE: Final = "k"


class ObjectReader:
    """Reads the objects below one prefix. For many threads at once: it keeps nothing between two requests."""

    def __init__(self, client: S3Client, place: Place) -> None:
        from botocore import UNSIGNED

        self._client, self._place = client, place
        # Where the client's endpoint rules put a key of this bucket (by path or by host), asked for once.
        named = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": place.bucket, "Key": _PROBE}))
        self._base = urlunsplit((named.scheme, named.netloc, named.path.removesuffix(_PROBE), "", ""))
        # Neither has a public name. The client's session knows the proxies, certificates and time-outs of its owner.
        self._session = client._endpoint.http_session  # type: ignore[attr-defined]
        is_signed = client.meta.config.signature_version is not UNSIGNED  # type: ignore[attr-defined]  # no stub
        self._credentials = client._get_credentials() if is_signed else None  # type: ignore[attr-defined]

    @contextmanager
    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Iterator[Iterator[bytes]]:
        """Give the bytes of an object from `start` up to `stop`, in pieces of at most 1 MiB.

        Raises what the client raises; a connection that breaks while it is read is a BotoCoreError as well.
        """
        from botocore.exceptions import ResponseStreamingError
        from urllib3.exceptions import HTTPError

        key = self._place.prefix + path
        span = {} if stop is None else {"Range": f"bytes={start}-{stop - 1}"}
        answer = self._session.send(self._request(key, span))
        try:
            if answer.status_code == (206 if span else 200):
                yield iter(lambda: answer.raw.read(CHUNK_BYTES), b"")
                return
            answer.raw.read()
        except HTTPError as error:
            raise ResponseStreamingError(error=error) from error
        finally:
            answer.raw.close()  # one that was read to its end has gone back to the pool before
        body = self._client.get_object(Bucket=self._place.bucket, Key=key, **span)["Body"]  # type: ignore[arg-type]
        try:
            yield body.iter_chunks(CHUNK_BYTES)
        finally:
            body.close()

    def _request(self, key: str, headers: dict[str, str]) -> object:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("GET", self._base + quote(key, safe="/~"), headers, stream_output=True)
        if self._credentials is not None:
            frozen = self._credentials.get_frozen_credentials()
            S3SigV4Auth(frozen, "s3", self._client.meta.region_name).add_auth(request)
        return request.prepare()
