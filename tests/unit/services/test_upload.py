"""One picture out of a multipart body, in whatever pieces it comes, and every malformed body refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.serving.problems import Refusal
from services.serving.upload import read_image_field

BOUNDARY = "limit"
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
MAX_BODY_BYTES = 2000


def part(content: bytes, *, name: str = "image", more: str = "", file_name: str = 'filename="a.jpg"') -> bytes:
    """Return one part of a body, its boundary before it."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; {file_name}\r\n{more}\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def receive(body: bytes, headers: dict[str, str] | None = None, *, piece: int = 7) -> bytes:
    """Read the field from a body that comes in pieces of this many bytes."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    return asyncio.run(
        read_image_field(chunks(), HEADERS if headers is None else headers, max_body_bytes=MAX_BODY_BYTES)
    )


@given(content=st.binary(min_size=1, max_size=300), piece=st.integers(1, 400))
def test_the_bytes_of_the_field_arrive_however_they_were_cut(content: bytes, piece: int) -> None:
    assert receive(part(content) + END, piece=piece) == content


def test_a_field_without_a_file_name_is_read_and_file_names_do_not_matter() -> None:
    assert receive(part(b"picture", file_name="") + END) == b"picture"
    assert receive(part(b"picture", file_name='filename="../../etc/passwd"') + END) == b"picture"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_multipart"),
        (b"no boundary in here", 400, "malformed_multipart"),
        (part(b"picture"), 400, "malformed_multipart"),
        (part(b"picture")[:-1], 400, "malformed_multipart"),
        (part(b"picture").replace(b"Content-Disposition", b"Content Disposition") + END, 400, "malformed_multipart"),
        (part(b"picture", more=f"X-Long: {'x' * 1500}\r\n" * 3) + END, 413, "body_too_large"),
        (part(b"picture", more="X-A: b\r\n" * 20) + END, 400, "malformed_multipart"),
        (END, 422, "no_image"),
        (part(b"picture", name="photo") + END, 422, "unexpected_field"),
        (part(b"picture", name="Image") + END, 422, "unexpected_field"),
        (part(b"picture").replace(b'name="image"; ', b"") + END, 422, "unexpected_field"),
        (part(b"picture") + part(b"another") + END, 422, "several_images"),
        (part(b"picture") + part(b"1", name="min_score") + END, 422, "unexpected_field"),
        (part(b"") + END, 422, "empty_image"),
        (part(b"x" * MAX_BODY_BYTES) + END, 413, "body_too_large"),
    ],
)
def test_a_body_that_is_not_one_image_is_refused(body: bytes, status: int, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        receive(body)
    assert (caught.value.status, caught.value.code) == (status, code), caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        (None, 415, "not_multipart"),
        ("application/json", 415, "not_multipart"),
        ("image/jpeg", 415, "not_multipart"),
        ("multipart/mixed; boundary=limit", 415, "not_multipart"),
        ("multipart/form-data", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=", 400, "malformed_multipart"),
        (f"multipart/form-data; boundary={'b' * 71}", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=other", 400, "malformed_multipart"),
    ],
)
def test_a_content_type_that_does_not_fit_is_refused(content_type: str | None, status: int, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        receive(part(b"picture") + END, {} if content_type is None else {"content-type": content_type})
    assert (caught.value.status, caught.value.code) == (status, code)


def test_what_a_client_named_is_repeated_short_and_printable() -> None:
    with pytest.raises(Refusal) as caught:
        receive(part(b"x", name="\x1b[31m" + "n" * 500) + END)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 120


def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("nothing may be read")
        yield b""

    headers = {**HEADERS, "content-length": str(MAX_BODY_BYTES + 1)}
    with pytest.raises(Refusal) as caught:
        asyncio.run(read_image_field(unread(), headers, max_body_bytes=MAX_BODY_BYTES))
    assert caught.value.status == 413


def test_bytes_are_counted_whatever_length_was_declared() -> None:
    with pytest.raises(Refusal) as caught:
        receive(part(b"x" * MAX_BODY_BYTES) + END, {**HEADERS, "content-length": "10"})
    assert caught.value.status == 413
