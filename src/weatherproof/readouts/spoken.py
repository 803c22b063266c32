"""A classifier out of words (zero-shot, Radford et al. 2021, section 3.1), and images that are found by words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import normalize

from weatherproof import texts
from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.encoders import folder as saved
from weatherproof.encoders.hub import REVISION
from weatherproof.encoders.towers import TextTower, TowerSource, text_tower, tower_source
from weatherproof.errors import InputError, shown
from weatherproof.readouts.embedding import embed, require_embeddings
from weatherproof.readouts.neighbours import nearest
from weatherproof.readouts.store import KIND, META, Readout, Spoken, load_readout
from weatherproof.readouts.words import Words, words_of
from weatherproof.recipe import flat

_RUNS = 16  # that were hardened one from the other


def zero_shot(
    source: str | Path | TextTower,
    classes: str | Path | Sequence[str],
    prompts: str | Path | Sequence[str] | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Readout:
    """A readout from words: logits = scale * cosine(image, class) + bias, where a class is the normalised mean over the
    prompts of the normalised embeddings that the text tower gives them.

        readout = wp.readouts.zero_shot("open_clip:ViT-B-32/openai@clip.safetensors", ["cat", "dog"])
        logits = wp.readouts.classifier_of(encoder, readout)(images)

    Args:
        source: the text of an image encoder whose weights hold the text tower too, a run folder that began with one, or
            a tower.
        classes, prompts: as in `words_of`.

    Raises:
        InputError: what `words_of` and `text_tower` refuse; a run that began with an encoder without words.
    """
    words = words_of(classes, prompts)
    tower = source if isinstance(source, TextTower) else text_tower(words_source(source))
    return text_head(tower, words, device=device)


def text_head(tower: TextTower, words: Words, *, device: str | torch.device = "cpu") -> Readout:
    """The readout of these words. Raises `InputError` for words that the tower cannot read."""
    embedded = tower.embed(words.sentences, device=device)
    rows = normalize(embedded.view(len(words.classes), len(words.prompts), -1).mean(dim=1), dim=1)
    head = nn.Linear(rows.shape[1], len(rows))
    with torch.no_grad():
        head.weight.copy_(tower.scale * rows)
        head.bias.fill_(tower.bias)
    source = tower.source or TowerSource(tower.name, "")
    spoken = Spoken(words.names, words.prompts, source.text, source.digest)
    return Readout(head, words.classes, KIND, unit_length=True, spoken=spoken)


def found_by_words(
    encoder: Encoder, images: ImageSet, says: str | Sequence[str], tower: TextTower, *, k: int = 10,
    device: str | torch.device = "cpu", batch_size: int = 256,
) -> tuple[Float[Tensor, "texts k"], Int64[Tensor, "texts k"]]:  # fmt: skip
    """(cosine, position) of the k images nearest to each text, the nearest first.

    Raises:
        InputError: no images, embeddings that are not finite, or a tower that is of another encoder.
    """
    queries = tower.embed([says] if isinstance(says, str) else list(says), device=device)
    require_same_width(encoder, tower.feature_dim, tower.name)
    if k < 1:
        raise InputError(f"k is how many images are found, at least 1, got {k}")
    features, _ = embed(encoder, images, device=device, batch_size=batch_size)
    require_embeddings(encoder.name, features)
    return nearest(features, queries, k)


def require_same_width(encoder: Encoder, features: int, name: str) -> None:
    """Raise `InputError` where words and images have embeddings of unlike lengths."""
    if encoder.feature_dim != features:
        raise InputError(
            f"{name} gives words {features} numbers, and {encoder.name} gives images {encoder.feature_dim}: the text "
            "tower is not that of this encoder"
        )


@dataclass(frozen=True)
class WordsRequest:
    """A readout by words that is wanted, and not made yet.

    Attributes:
        source: of the text tower.
    """

    words: Words
    source: TowerSource

    def is_(self, readout: Readout | None) -> bool:
        """Whether this is it."""
        if readout is None or readout.spoken is None:
            return False
        spoken, words = readout.spoken, self.words
        wanted = (words.classes, words.names, words.prompts, self.source.digest)
        return (readout.classes, spoken.said, spoken.prompts, spoken.digest) == wanted

    def readout(self, *folders: Path, device: str | torch.device) -> Readout:
        """The readout: from one of these folders where it is there, else made now."""
        for folder in folders:
            readout = load_readout(folder)
            if readout is not None and self.is_(readout):
                return readout
        return text_head(text_tower(self.source, quiet=True), self.words, device=device)


def words_request(source: object, words: Words) -> WordsRequest:
    """Raises `InputError` for an encoder without words."""
    return WordsRequest(words, words_source(source))


def words_source(source: object) -> TowerSource:
    """Where the text tower of an encoder's text or of a run folder is.

    Raises:
        InputError: it knows no words, it was given as an object, or the weights that a run began with are gone or are
            others.
    """
    if not isinstance(source, str | Path):
        raise InputError(
            "classes by words need the text of the encoder, such as open_clip:NAME/TAG, or a run folder: of a "
            f"{type(source).__qualname__} give classes=wp.readouts.zero_shot(TEXT, [...])"
        )
    folder = texts.path_of(source)
    if not _is_folder(folder):
        return tower_source(str(source))
    known = _known(folder)
    text = known.text if known is not None else _start(folder)
    try:
        found = tower_source(_at_commit_of(folder, text))
    except InputError as error:
        raise InputError(
            f"the run in {folder} began with {shown(text)}, and other words need its text tower: {error}"
        ) from None
    if known is not None and known.digest and known.digest != found.digest:
        raise InputError(
            f"the words of the run in {folder} are those of {shown(text)}, whose file holds something else now: put "
            "it back, or give classes=wp.readouts.zero_shot(TEXT, [...]) in Python"
        )
    return found


def _known(folder: Path) -> Spoken | None:
    """Where the words that the run has already come from."""
    readout = load_readout(folder) if (folder / META).is_file() else None
    return None if readout is None else readout.spoken


def _at_commit_of(folder: Path, text: str) -> str:
    """The encoder's text with the commit of the hub that the run's images are embedded by, where it is from there."""
    name, at, after = text.partition("@")
    if (at and not after.startswith(REVISION)) or not (folder / saved.SETTINGS).is_file():
        return text
    commits = [origin.commit for origin in saved.read(folder).origins if origin.commit]
    return f"{name}@{REVISION}{commits[0]}" if commits else text


def _start(folder: Path) -> str:
    """The encoder's text that a run, or the run that it began with, was given."""
    first = folder
    for _ in range(_RUNS):
        recipe = _recipe(folder) or _recipe(folder.parent)  # RUN/hardened
        text = str(recipe.get("encoder") or "")
        if not text:
            break
        if not _is_folder(Path(text)):
            return text
        known = _known(Path(text))
        if known is not None:
            return known.text
        folder = Path(text)
    raise InputError(f"no recipe.yaml of {first} says with which encoder it began: no words are known of it")


def _recipe(folder: Path) -> Mapping[str, Any]:
    try:
        found = texts.read_yaml(folder / "recipe.yaml")
    except (OSError, texts.Malformed):
        return {}
    return flat(found) if isinstance(found, dict) else {}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
