"""What every part of the catalogue is: frozen, strict about keys that it does not know, described by its docstrings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer


class Section(BaseModel):
    """A part of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def _freeze(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value))


FROZEN: Final = (AfterValidator(_freeze), PlainSerializer(dict))
"""What makes a mapping of a section read-only; written behind its type: `Annotated[Mapping[...], *FROZEN]`."""
