"""Where images come from: folders and the usual small data sets, as uint8 pixels, class labels and stable indices."""

from weatherproof.data.corrupted import CORRUPTIONS, SEVERITIES, CorruptedImages
from weatherproof.data.corrupted_sources import CORRUPTED_SOURCES
from weatherproof.data.files import FileImages
from weatherproof.data.images import ImageSet, MemoryImages
from weatherproof.data.labels import label_fraction
from weatherproof.data.loading import Batch, batches
from weatherproof.data.sources import BUILT_IN, SOURCES, load_images
from weatherproof.data.statistics import pixel_std, save_pixel_std

__all__ = [
    "BUILT_IN",
    "CORRUPTED_SOURCES",
    "CORRUPTIONS",
    "SEVERITIES",
    "SOURCES",
    "Batch",
    "CorruptedImages",
    "FileImages",
    "ImageSet",
    "MemoryImages",
    "batches",
    "label_fraction",
    "load_images",
    "pixel_std",
    "save_pixel_std",
]
