"""One picture out of a multipart body, read as it arrives and never more of it than the limits allow.

Nothing is written to disk. The caller's stream may lie about its length or never end: bytes are counted here, and the
caller bounds the time. Parses with python-multipart's streaming parser; the file name that a client sends is not read.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.serving.problems import Refusal

FIELD = "image"
MAX_BOUNDARY_BYTES = 70  # RFC 2046, 5.1.1
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 4096
HINT = "Send multipart/form-data with one field `image`, for example: curl -F image=@picture.jpg ADDRESS"


async def read_image_field(chunks: AsyncIterator[bytes], headers: Mapping[str, str], *, max_body_bytes: int) -> bytes:
    """Return the bytes of the field `image`; raises Refusal: 400, 411, 413, 415 or 422, as soon as one is due."""
    boundary = _boundary(headers.get("content-type", ""))
    _check_declared_length(headers.get("content-length"), max_body_bytes)
    form = _OneField()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin_part,
            "on_header_begin": form.begin_header,
            "on_header_field": form.read_header_name,
            "on_header_value": form.read_header_value,
            "on_header_end": form.end_header,
            "on_headers_finished": form.end_headers,
            "on_part_data": form.read_data,
            "on_end": form.end,
        },
        max_header_count=MAX_PART_HEADERS,
        max_header_size=MAX_PART_HEADER_BYTES,
    )
    received = 0
    try:
        async for chunk in chunks:
            received += len(chunk)
            if received > max_body_bytes:
                raise body_too_large(max_body_bytes)
            parser.write(chunk)
        parser.finalize()
    except MultipartParseError as error:
        raise _malformed(str(error)) from error
    return form.picture()


def body_too_large(max_body_bytes: int) -> Refusal:
    """Return the refusal of a body that is, or says that it is, over the limit."""
    return Refusal(
        413,
        "body_too_large",
        f"The body is larger than {max_body_bytes:,} bytes.",
        hint="Scale the picture down or save it as JPEG, then send it again.",
    )


def _check_declared_length(declared: str | None, max_body_bytes: int) -> None:
    # chunked bodies declare none and are counted instead; h11 has refused one that is not a number
    if declared is not None and int(declared) > max_body_bytes:
        raise body_too_large(max_body_bytes)


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refusal(
            415,
            "not_multipart",
            f"The content type is {_shown(kind) or 'missing'}, not multipart/form-data.",
            hint=HINT,
        )
    boundary = options.get(b"boundary", b"")
    if not boundary or len(boundary) > MAX_BOUNDARY_BYTES:
        raise _malformed(f"the content type names no boundary of 1 to {MAX_BOUNDARY_BYTES} bytes")
    return boundary


def _malformed(why: str) -> Refusal:
    return Refusal(400, "malformed_multipart", f"The body is not well-formed multipart/form-data: {why}.", hint=HINT)


def _shown(name: bytes) -> str:
    """Return a name that a client sent in a form that is safe to repeat: short, and printable."""
    return "".join(character if character.isprintable() else "?" for character in name.decode("latin-1")[:40])


class _OneField:
    """Callbacks of the parser: keep the bytes of `image`, refuse every other part at its headers."""

    def __init__(self) -> None:
        self._data = io.BytesIO()
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._has_image = False
        self._ended = False

    def begin_part(self) -> None:
        self._disposition = b""

    def begin_header(self) -> None:
        self._name.clear()
        self._value.clear()

    def read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)

    def end_headers(self) -> None:
        field = parse_options_header(self._disposition)[1].get(b"name", b"")
        if field != FIELD.encode():
            raise Refusal(
                422, "unexpected_field", f"The body holds a field `{_shown(field)}`; only `{FIELD}` is read.", hint=HINT
            )
        if self._has_image:
            raise Refusal(422, "several_images", f"The body holds the field `{FIELD}` more than once.", hint=HINT)
        self._has_image = True

    def read_data(self, data: bytes, start: int, end: int) -> None:
        self._data.write(memoryview(data)[start:end])

    def end(self) -> None:
        self._ended = True

    def picture(self) -> bytes:
        if not self._has_image and self._ended:
            raise Refusal(422, "no_image", f"The body holds no field `{FIELD}`.", hint=HINT)
        if not self._ended:
            raise _malformed("it ends before its closing boundary")
        data = self._data.getvalue()
        if not data:
            raise Refusal(422, "empty_image", f"The field `{FIELD}` is empty.", hint=HINT)
        return data
