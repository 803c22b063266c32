"""The text side of an image encoder: what turns words into embeddings among those of images."""

from weatherproof.encoders.towers.load import text_tower, tower_source
from weatherproof.encoders.towers.tower import TextTower, TowerSource

__all__ = ["TextTower", "TowerSource", "text_tower", "tower_source"]
