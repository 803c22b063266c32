"""Hand an encoder on: as one ONNX file, as a `torch.export` program, or as a folder that its own library loads."""

from weatherproof.verbs.export.verb import export

__all__ = ["export"]
