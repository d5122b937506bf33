"""Loaded before any test module here: onnxruntime reports to its maker unless the package turned that off first."""

import services.serving  # noqa: F401
