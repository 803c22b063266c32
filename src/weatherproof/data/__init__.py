"""Where images come from: folders and the usual small data sets, as uint8 pixels, class labels and stable indices."""

from weatherproof.benchmark import COMMON_19 as CORRUPTIONS
from weatherproof.benchmark import SEVERITIES
from weatherproof.data.corrupted.sets import CorruptedImages
from weatherproof.data.corrupted.sources import CORRUPTED_SOURCES
from weatherproof.data.files import FileImages
from weatherproof.data.images import ImageSet, MemoryImages, at_most, evenly_spaced, held_out
from weatherproof.data.labels import label_fraction, validation_split
from weatherproof.data.loading import Batch, batches
from weatherproof.data.packed.images import PackedImages
from weatherproof.data.sources import BUILT_IN, PACKED_SOURCES, SOURCES, load_images
from weatherproof.data.statistics import pixel_std, save_pixel_std
from weatherproof.data.transfer import TRANSFER, Transfer, metric_of

__all__ = [
    "BUILT_IN",
    "CORRUPTED_SOURCES",
    "CORRUPTIONS",
    "PACKED_SOURCES",
    "SEVERITIES",
    "SOURCES",
    "TRANSFER",
    "Batch",
    "CorruptedImages",
    "FileImages",
    "ImageSet",
    "MemoryImages",
    "PackedImages",
    "Transfer",
    "at_most",
    "batches",
    "evenly_spaced",
    "held_out",
    "label_fraction",
    "load_images",
    "metric_of",
    "pixel_std",
    "save_pixel_std",
    "validation_split",
]
