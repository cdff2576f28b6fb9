"""A trained generator outside PyTorch: as an ONNX file, and as a page that runs it in a browser."""
