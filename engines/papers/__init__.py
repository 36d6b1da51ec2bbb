"""The papers' systems as engine files: imported checkpoints, live forms of the networks, export to ONNX."""
