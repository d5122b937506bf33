"""What the inference services share: any ONNX model that a manifest describes, served over HTTP within limits.

One request flows `edge` (log, metrics, the rest of a refused body) -> `app` (routes) -> `service` (places, the worker)
-> `upload` (one picture out of a multipart body) -> `pictures` (bytes to pixels) -> `finders` (one model, or a detector
and then a look at each person) -> `framing` into the input of `models` (onnxruntime), out of it by `decoders` and
`boxes`. `__main__` starts it: settings, manifest, checked model files, then the `server`. Imports nothing of the
toolkit.
"""

import os

# onnxruntime >= 1.29 reports each session to its maker unless this stands before it is first imported (its Privacy.md)
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
