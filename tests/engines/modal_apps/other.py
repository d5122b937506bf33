"""Another app, with something of its own."""

from pathlib import Path

import modal

app = modal.App("other")
volume = modal.Volume.from_name("other-secrets", create_if_missing=True)


@app.function(volumes={"/mine": volume})
def hides() -> str:
    Path("/mine/secret.txt").write_text("of another app")
    return "hidden"
