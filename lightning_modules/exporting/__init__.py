"""A trained network handed on: ONNX, torch.export, safetensors, a model card, the Hub."""
