"""What the inference services share: any ONNX model that a manifest describes, served over HTTP within limits.

One request flows `edge` (connection, log, metrics) -> `app` (routes) -> `upload` (one picture out of a multipart body)
-> `pictures` (bytes to pixels) -> `models` (`framing` into the model's input, onnxruntime, `decoders` out of it).
`__main__` starts it: settings, manifest, checked model files, then the server. Imports nothing of the toolkit.
"""
