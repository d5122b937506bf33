"""The page as text: whole in one answer, and its policy fits it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from services.serving.page import LEADS, page_headers, page_html

if TYPE_CHECKING:
    from services.serving.manifest import Task

TASKS: tuple[Task, ...] = ("detect", "pose")


def test_the_page_loads_nothing_but_itself() -> None:
    html = page_html(1000, TASKS)
    policy = page_headers()["content-security-policy"]
    assert "src=" not in html
    assert "http://" not in html.replace("http://www.w3.org/", "")
    assert "https://" not in html
    assert "unsafe" not in policy
    assert 'data-max-body-bytes="1000"' in html


@pytest.mark.parametrize("tasks", LEADS, ids=" and ".join)
def test_the_page_says_what_is_offered_and_nothing_else(tasks: tuple[Task, ...]) -> None:
    html = page_html(1000, tasks)
    assert f'data-tasks="{" ".join(tasks)}"' in html
    assert LEADS[tasks] in html
    assert "{" not in re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)


def test_the_policy_names_the_two_blocks_that_the_page_holds() -> None:
    policy = page_headers()["content-security-policy"]
    for block in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page_html(1000, TASKS), re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
