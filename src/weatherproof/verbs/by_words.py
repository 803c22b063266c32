"""Classes by words, as verbs take them: asked for first, made once, kept in the run folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from weatherproof.data import ImageSet
from weatherproof.encoders import Encoder
from weatherproof.errors import InputError
from weatherproof.evaluation.class_sets import ClassFit, class_fit, head_of_words
from weatherproof.readouts import Readout, WordsRequest, save_readout, words_of, words_request
from weatherproof.readouts.spoken import require_same_width
from weatherproof.readouts.store import META, WEIGHTS
from weatherproof.training import RunFolder
from weatherproof.verbs.options import WordOptions


@dataclass(frozen=True)
class ByWords:
    """A readout from words that a verb is asked for.

    Attributes:
        ready: one that is made already, in Python; None: what is `request` for is to be made.
        files: that the words stand in, with digests of what they hold.
    """

    ready: Readout | None
    request: WordsRequest | None
    files: Mapping[str, str]

    @classmethod
    def of(cls, source: object, options: WordOptions) -> "ByWords | None":
        """What the options ask for; None: nothing.

        Args:
            source: the encoder as the user gave it.

        Raises:
            InputError: names or prompts that cannot be used, or an encoder that knows no words.
        """
        classes, prompts = options.get("classes"), options.get("prompts")
        if classes is None:
            if prompts is not None:
                raise InputError("prompts say how classes are called: give --classes too")
            return None
        if isinstance(classes, Readout):
            if prompts is not None or classes.spoken is None:
                raise InputError("classes are names, or what wp.readouts.zero_shot makes of names and prompts")
            return cls(classes, None, {})
        words = words_of(classes, prompts)
        return cls(None, words_request(source, words), words.files)

    def fit(self, images: ImageSet, classes_match: bool) -> ClassFit:
        """Whether its classes are the images'. Raises `InputError` where the user says so and it cannot be."""
        if self.ready is not None and self.ready.spoken is not None:
            head = head_of_words(self.ready.classes, self.ready.spoken.said)
        else:
            assert self.request is not None
            head = head_of_words(self.request.words.classes, self.request.words.names)
        return class_fit(head, images, classes_match=classes_match)

    def readout(self, encoder: Encoder, *folders: Path, device: torch.device) -> Readout:
        """It, for this encoder: from one of the folders where it is there, else made now.

        Raises:
            InputError: the encoder's text tower cannot be read, or is of another encoder.
        """
        if self.ready is not None:
            readout = self.ready
        else:
            assert self.request is not None
            readout = self.request.readout(*folders, device=device)
        assert readout.spoken is not None
        require_same_width(encoder, cast(nn.Linear, readout.head).in_features, readout.spoken.text)
        return readout


def keep_words(run: RunFolder, readout: Readout, *folders: Path) -> None:
    """Write a readout from words into a run's folder and these ones, where it is found again."""
    assert readout.spoken is not None
    run.provisional.update((META, WEIGHTS))
    for folder in (run.path, *folders):
        save_readout(readout, folder, provenance={"words": readout.spoken.text})
