"""Classifiers from words, as components: a text tower, the head that it makes of words, and an encoder under it."""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from weatherproof.encoders import Encoder
from weatherproof.encoders.towers import TextTower, text_tower
from weatherproof.evaluation.class_sets import class_fit, head_of_readout, head_of_words
from weatherproof.readouts import Readout, UnitLength, Words, classifier_of, embed, text_head, words_of
from weatherproof.spec import component
from weatherproof.studies.lab.classifiers import NoNumber
from weatherproof.studies.lab.sets import Images, located
from weatherproof.studies.lab.store import Recipe, Store

_HASHES = 1024  # of groups of letters
_GROUPS = (3, 4, 5)  # letters in a group
_RIDGE = 1e-3
_SCALE = 100.0  # CLIP's
_LETTERS = 1000  # of a text


@component
class TowerOf:
    """The text tower that belongs to an encoder.

    Attributes:
        text: of the encoder; ``$DATA`` is the data folder.
    """

    text: str

    def tower(self, store: Store) -> TextTower:
        return text_tower(located(self.text, store.data), quiet=True)


@component
class FittedTower:
    """A small text tower for an encoder that has none: groups of letters, and a linear map (ridge regression) that puts
    each class, said in each prompt, where the mean of its clean training images lies. The images' labels are used.

    Attributes:
        start: the encoder before all hardening.
        classes: lines as in `words_of`, of all classes of the images.
        prompts: with which it is fitted.
    """

    start: Recipe
    data: Images
    classes: tuple[str, ...]
    prompts: tuple[str, ...]

    def tower(self, store: Store) -> TextTower:
        encoder, images = store.encoder(self.start), store.images(self.data)
        words = words_of(self.classes, self.prompts)
        fit = class_fit(head_of_words(words.classes, words.names), images)
        if not fit.believed or fit.among is not None:
            raise NoNumber(fit.why)
        features, labels = embed(UnitLength(encoder), images, device=store.device)
        mean_of = dict(zip(fit.classes, _means(features, labels, len(fit.classes)), strict=True))
        wanted = torch.stack([mean_of[name] for name in words.names for _ in words.prompts])
        network = nn.Linear(_HASHES, wanted.shape[1], bias=False)
        with torch.no_grad():
            network.weight.copy_(_ridge(letters(words.sentences), wanted).T)
        return TextTower(
            f"a text tower fitted to {encoder.name}", network, letters, len, _LETTERS, encoder.feature_dim, _SCALE
        )


Tower = TowerOf | FittedTower


@component
class WordHead:
    """What a text tower makes of words.

    Attributes:
        classes: lines as in `words_of`, or one of the lists that it knows ("imagenet",).
        prompts: (): those of `words_of`.
    """

    tower: Tower
    classes: tuple[str, ...]
    prompts: tuple[str, ...] = ()

    def make(self, store: Store) -> nn.Module:
        return self.readout(store).head

    def readout(self, store: Store) -> Readout:
        return store.fitted(self, lambda: self._readout(store))

    def _readout(self, store: Store) -> Readout:
        return text_head(self.tower.tower(store), self.words, device=store.device)

    @property
    def words(self) -> Words:
        """Names and prompts."""
        return words_of(self.classes[0] if len(self.classes) == 1 else self.classes, self.prompts or None)


@component
class ByWords:
    """An encoder under a head from words.

    Attributes:
        data: images whose classes must be among those of the head, else there is no number.
    """

    of: Recipe
    head: WordHead
    data: Images

    def make(self, store: Store) -> nn.Module:
        readout = self.head.readout(store)
        fit = class_fit(head_of_readout(readout), store.images(self.data))
        if not fit.believed:
            raise NoNumber(fit.why)
        encoder: Encoder = store.encoder(self.of)
        return fit.classifier(classifier_of(encoder, readout)).to(store.device)


def letters(texts: Sequence[str]) -> Tensor:
    """Rows of unit length that count the groups of letters of each text [texts, hashes], of each word with its ends."""
    counts = torch.zeros(len(texts), _HASHES)
    for row, text in zip(counts, texts, strict=True):
        for word in text.casefold().split():
            whole = f" {word.strip('.,')} "
            for size in _GROUPS:
                for at in range(max(1, len(whole) - size + 1)):
                    row[zlib.crc32(whole[at : at + size].encode()) % _HASHES] += 1
    return normalize(counts, dim=1)


def _ridge(rows: Tensor, wanted: Tensor) -> Tensor:
    """W of least |rows W - wanted|^2 + ridge |W|^2, by the smaller of its two systems."""
    gram = rows.double() @ rows.double().T
    solved = torch.linalg.solve(gram + _RIDGE * torch.eye(len(rows), dtype=torch.float64), wanted.double())
    return (rows.double().T @ solved).float()


def _means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    sums = torch.zeros(classes, features.shape[1]).index_add_(0, labels, features)
    return normalize(sums, dim=1)
