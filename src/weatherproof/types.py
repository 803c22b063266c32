"""The tensors that travel through the package, named once.

Pixels are float32 in [0, 1], batch x channels x height x width, everywhere; normalisation lives inside the encoder.
"""

from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "batch channels height width"]  # pixels in [0, 1] (operators with clip=False may leave it)
Labels = Int64[Tensor, "batch"]  # class index; -1 where the image has no label
Keys = Int64[Tensor, "batch"]  # one random key per image, on the CPU
Embeddings = Float[Tensor, "batch features"]
Logits = Float[Tensor, "batch classes"]
Maps = Float[Tensor, "batch depth rows columns"]  # what a network knows of each position of an image
