"""Embed images into a file, or look for their nearest neighbours in one."""

from pathlib import Path
from typing import Annotated, Unpack

from torch import nn

from weatherproof.data import ImageSet
from weatherproof.embedded.columns import Asked
from weatherproof.embedded.search import MOST_NEIGHBOURS, Search
from weatherproof.errors import InputError
from weatherproof.processor import Precision
from weatherproof.verbs.embed.outcome import EmbedOutcome, SearchOutcome
from weatherproof.verbs.embed.queries import search_index
from weatherproof.verbs.embed.subject import Subject, out_file
from weatherproof.verbs.embed.write import write_file
from weatherproof.verbs.inputs import require_counts, require_pace
from weatherproof.verbs.options import CropFraction, ReadOptions, verb


class EmbedOptions(ReadOptions, total=False):
    """How images are read and embedded."""

    split: Annotated[
        str,
        "train, test, or all; by default every image of a folder, however it is laid out, and of another source its "
        "training images.",
    ]
    crop_fraction: CropFraction
    precision: Annotated[Precision, "32-true, bf16-mixed or 16-mixed: in which the network computes."]
    minutes: Annotated[
        float | None,
        "stop after that time; the same command goes on from there, and there is no file until all is done.",
    ]
    out: Annotated[str | Path, "the file, .parquet or .npz; of a search .csv or .parquet. runs/embed.npz by default."]
    seed: Annotated[int, "of random weights, where no others are given."]


@verb(batch_size=128, out=None, split=None, crop_fraction=None)
def embed(
    encoder: str | Path | nn.Module,
    images: str | Path | ImageSet,
    *,
    index: str | Path | None = None,
    neighbours: int = 5,
    search: str | Search = "auto",
    half: bool = False,
    patches: bool = False,
    gauge: bool = False,
    logits: bool = False,
    **options: Unpack[EmbedOptions],
) -> EmbedOutcome | SearchOutcome:
    """Embed images into a file, Parquet or npz by its ending: for each image its path, its class, its embedding, and
    what else is asked for. Or, with --index, find the nearest images of such a file for each of the images.

    Stopped or killed, the same command goes on where it was, to the same file. Memory depends on the batch, not on the
    number of images.

    Args:
        encoder: a run folder, or NAME@WEIGHTS as for harden.
        images: a folder, digits, or NAME:DIR; what else `load_images` reads.
        index: a file that embed wrote with the same encoder: search it, and write no embeddings.
        neighbours: of each image, with --index.
        search: exact, faiss or Faiss(...), with --index; auto: exact up to an index of a million images.
        half: embeddings and patches as float16.
        patches: also the network's last map, or its patch tokens, of each image.
        gauge: also what the gauge of a hardened encoder says: level, low, high, kind, damaged, extent, beyond.
        logits: also those of the encoder's own classifier.
        batch_size: images per forward pass. Memory depends on this, not on the number of images.
        workers: processes that decode images.
    """
    require_counts(batch_size=options["batch_size"], neighbours=neighbours)
    require_pace(options["minutes"], 1)
    asked = Asked(half, patches, gauge, logits, options["precision"])
    if index is None:
        if neighbours != 5 or search != "auto":
            raise InputError("--neighbours and --search belong to --index")
        file = out_file(options.get("out", Path("runs/embed.npz")))
        return write_file(file, Subject.load(encoder, images, options, asked))
    if half or patches or gauge or logits:
        raise InputError("--half, --patches, --gauge and --logits belong to a file that is written: leave out --index")
    if neighbours > MOST_NEIGHBOURS:
        raise InputError(f"neighbours must be at most {MOST_NEIGHBOURS:,}, got {neighbours}")
    return search_index(index, encoder, images, options, asked, neighbours, search)
