"""The page as text: whole in one answer, and its policy fits it."""

from __future__ import annotations

import base64
import hashlib
import re

from services.serving.page import page_headers, page_html


def test_the_page_loads_nothing_but_itself() -> None:
    html = page_html(1000)
    policy = page_headers()["content-security-policy"]
    assert "src=" not in html
    assert "http://" not in html.replace("http://www.w3.org/", "")
    assert "https://" not in html
    assert "unsafe" not in policy
    assert 'data-max-body-bytes="1000"' in html


def test_the_policy_names_the_two_blocks_that_the_page_holds() -> None:
    policy = page_headers()["content-security-policy"]
    for block in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page_html(1000), re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
