"""The way out of PyTorch: ONNX and OpenVINO files, quantised on request, compared."""
