"""The embedding models: OpenVINO, PyTorch, int8 and static."""
