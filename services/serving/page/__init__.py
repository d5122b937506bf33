"""The page at `/`: one answer that holds its own style and script, so that it works without any network.

The content security policy names the two inline blocks by their sha256; nothing else may load, run or be framed. Reads
the three files beside it, once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.serving.manifest import Task

_HERE = Path(__file__).parent

LEADS: Mapping[tuple[Task, ...], str] = {
    ("detect",): "A model on this machine finds the objects in it.",
    ("pose",): "Models on this machine find the people in it and their poses.",
    ("detect", "pose"): "Two models on this machine look at it: one finds objects, the other people and their poses.",
}


@cache
def page_html(max_body_bytes: int, tasks: tuple[Task, ...]) -> str:
    """Return the page for what is offered; it refuses larger files itself, in words, before they are sent."""
    return (
        _text("index.html")
        .replace("/* style.css */", _text("style.css"))
        .replace("/* script.js */", _text("script.js"))
        .replace("{max_body_bytes}", str(max_body_bytes))
        .replace("{tasks}", " ".join(tasks))
        .replace("{lead}", LEADS[tasks])
    )


@cache
def page_headers() -> dict[str, str]:
    """Return the headers that keep the page to itself."""
    policy = {
        "default-src": "'none'",
        "style-src": _source(_text("style.css")),
        "script-src": _source(_text("script.js")),
        "img-src": "blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{directive} {value}" for directive, value in policy.items()),
        "cache-control": "no-cache",
    }


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _source(block: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'"
