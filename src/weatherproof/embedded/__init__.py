"""Embeddings in files: made in parts, written as Parquet or npz, read row by row, searched for neighbours."""

from weatherproof.embedded.about import About, identity
from weatherproof.embedded.reader import EmbeddingFile, load_embeddings
from weatherproof.embedded.search import Exact, Faiss, Neighbours

__all__ = ["About", "EmbeddingFile", "Exact", "Faiss", "Neighbours", "identity", "load_embeddings"]
