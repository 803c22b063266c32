"""The one wrapper around every encoder, whoever wrote the network."""

import copy
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.gauge.gauge import Gauge, Reading
from weatherproof.encoders.in_parts import in_parts
from weatherproof.encoders.maps import MapPlace, recorded_maps
from weatherproof.encoders.numbers import check_numbers
from weatherproof.encoders.origin import Origin
from weatherproof.encoders.preprocessing import Preprocessing, to_input
from weatherproof.encoders.weights import check_fit, fits
from weatherproof.errors import InputError
from weatherproof.types import Embeddings, Images, Logits, Maps


@dataclass(frozen=True)
class Names:
    """How a network's own parameter names map to the two parts of an `Encoder`.

    Args:
        head: the classifier's module name in the original network ("fc", "classifier.3"); None: it has none.
        second: of a distilled network, whose `heads.TwoHeads` is made of two, that of the other one.
        body: a prefix that all names of the body carry ("visual."), else "".
        ignored: pattern of names in a weights file that are not part of the encoder (a text tower).
        renamed: (pattern, replacement) for names that older files of the same library use.
        converted: (state) -> state, what the library itself does to a file for another input size, or with other names,
            before it loads it; whatever it raises says that it cannot.
    """

    head: str | None
    second: str | None = None
    body: str = ""
    ignored: str = r"(?!)"  # matches nothing
    renamed: tuple[tuple[str, str], ...] = ()
    converted: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] | None = None

    def clean(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A weights file's tensors without those that are ignored, under today's names."""
        renamed = {self.rename(name): value for name, value in state.items()}
        return {name: value for name, value in renamed.items() if not re.match(self.ignored, name)}

    def rename(self, name: str) -> str:
        for pattern, replacement in self.renamed:
            name = re.sub(pattern, replacement, name)
        return name

    def is_head(self, name: str) -> bool:
        return any(path is not None and name.startswith(f"{path}.") for path in (self.head, self.second))

    def of_head(self, name: str) -> str:
        """The original name of one of the classifier's own tensors."""
        if self.second is None:
            return f"{self.head}.{name}"
        place, _, rest = name.partition(".")
        return f"{self.head if place == 'first' else self.second}.{rest}"

    def classes(self, state: Mapping[str, Tensor]) -> int:
        """The number of classes of the head in these weights, 0 if they have no head."""
        rows = [len(v) for k, v in state.items() if self.is_head(k) and k.endswith("weight") and v.ndim >= 2]
        return rows[-1] if rows else 0


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one pass through an encoder gives.

    Attributes:
        logits: of its own classifier, where they were asked for.
        maps: what it knows of each position, where that was asked for.
    """

    embeddings: Embeddings
    logits: Logits | None
    maps: Maps | None


class Encoder(nn.Module):
    """Images [batch, channels, height, width] in [0, 1] to embeddings [batch, feature_dim].

    Normalisation and resizing to the network's input size happen inside, so that operators and attacks speak pixel
    units. `body` gives the raw embedding or a map, `head` is the pretrained network's own classifier on top of it.

    Args:
        name: the text that builds the network, without weights: "resnet20", "torchvision:squeezenet1_0".
        body: pixels, normalised, to a raw embedding [batch, features] or a map [batch, features, height, width].
        head: raw embedding or map to logits; None if the network has no classifier.
        names: the original names of the parameters. Default: those of the body, and "head." before those of the head.
        options: the settings beside the name that rebuild the network, such as {"width": 32}.

    Attributes:
        origins: the published files that its weights were loaded from, or that it was trained from.
        micro_batch: so many images go through the network at a time (`in_parts`); None: all of a batch.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        body: nn.Module,
        head: nn.Module | None,
        *,
        feature_dim: int,
        preprocessing: Preprocessing,
        names: Names | None = None,
        num_classes: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.names = name, names or Names(head="head")
        self.body, self.head = body, head
        self.feature_dim = feature_dim
        self.num_classes = None if head is None else num_classes
        self.options = dict(options or {})
        self.origins: tuple[Origin, ...] = ()
        self.fitted_gauge: Gauge | None = None
        self.micro_batch: int | None = None
        self.set_preprocessing(preprocessing)

    @property
    def text(self) -> str:
        """What builds the network, with its options, as they are written: "small(width=32)"."""
        inside = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{self.name}({inside})" if inside else self.name

    def around(self, body: nn.Module, head: nn.Module | None) -> "Encoder":
        """Another network of the same build in this encoder's place."""
        encoder = Encoder(
            self.name, body, head, feature_dim=self.feature_dim, preprocessing=self.preprocessing, names=self.names,
            num_classes=self.num_classes, options=self.options,
        )  # fmt: skip
        encoder.origins = self.origins
        return encoder

    def drop_head(self) -> None:
        """Take its own classifier away, as where a training moves what the classifier stands on."""
        self.head, self.num_classes = None, None

    def extra_settings(self) -> dict[str, Any]:
        """What encoder.json says of it beside the network's name, options and preprocessing."""
        return {}

    def set_preprocessing(self, preprocessing: Preprocessing) -> None:
        """Replace the preprocessing."""
        device = next(self.parameters()).device
        self.preprocessing = preprocessing
        self.register_buffer("mean", torch.tensor(preprocessing.mean, device=device).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std, device=device).view(-1, 1, 1), persistent=False)

    def set_gauge(self, gauge: Gauge | None) -> None:
        """Give the encoder a gauge, from `fit_gauge`; None takes it away. It is saved, loaded and moved with the
        encoder, and is no part of its weights."""
        self.fitted_gauge = gauge

    def gauge(self, images: Images) -> Reading:
        """How damaged the images are, by what, and whether training saw such.

        Raises:
            InputError: the encoder has no gauge; images that it cannot see.
        """
        reading: Reading = self.own_gauge(images)
        return reading

    @property
    def own_gauge(self) -> Gauge:
        """The gauge itself. Raises `InputError` where the encoder has none."""
        if self.fitted_gauge is None:
            raise InputError(
                f"{self.name} has no gauge: take the whole run folder (RUN, not RUN/hardened), harden it with a gate, "
                "or fit one, encoder.set_gauge(wp.encoders.fit_gauge(images, operator, "
                "preprocessing=encoder.preprocessing))"
            )
        return self.fitted_gauge

    def forward(self, images: Images) -> Embeddings:
        """The embeddings, not normalised. A map is averaged over its positions."""
        return _pooled(self._raw(images))

    def logits(self, images: Images) -> Logits:
        """The network's own classification.

        Raises:
            InputError: the network has no classifier.
        """
        return self._judged(self._raw(images))

    def see(self, images: Images, *, judged: bool = False, place: MapPlace | None = None) -> Outputs:
        """All that is asked for, in one pass through the body.

        Args:
            judged: the logits too. Raises what `logits` raises.
            place: the map too, of this place of the encoder, from `map_place`.
        """
        raw, maps = (self._raw(images), None) if place is None else self._raw_and_map(images, place)
        return Outputs(_pooled(raw), self._judged(raw) if judged else None, maps)

    def _raw_and_map(self, images: Images, place: MapPlace) -> tuple[Tensor, Maps]:
        with recorded_maps(self, place) as recorded:
            raw = self._raw(images)
        return raw, torch.cat(recorded)

    def _judged(self, raw: Tensor) -> Logits:
        if self.head is None:
            raise InputError(f"{self.name} has no classifier of its own: give num_classes, or fit a probe")
        return self.head(raw).flatten(1)

    def _raw(self, images: Tensor) -> Tensor:
        if self.micro_batch is None or len(images) <= self.micro_batch:
            return self._pass(images)
        (raw,) = in_parts(self, lambda part: (self._pass(part),), images, self.micro_batch)
        return raw

    def _pass(self, images: Tensor) -> Tensor:
        pixels = to_input(images, self.preprocessing)
        pixels = (pixels.to(self.mean.dtype) - self.mean) / self.std
        return self._network(pixels if self._takes_channels_last else pixels.contiguous())

    @property
    def _takes_channels_last(self) -> bool:
        """Whether its kernels lie in channels_last (`layout`). Else images must not either, whose layout all maps have:
        a network may take one apart by `view`."""
        first = next((part for part in self.body.modules() if isinstance(part, nn.Conv2d)), None)
        return first is not None and any(own.ndim == 4 and not own.is_contiguous() for own in first.parameters())

    def _network(self, pixels: Tensor) -> Tensor:
        raw: Tensor = self.body(pixels)
        return raw

    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers under the original network's names; they share memory with the encoder."""
        return self._state()

    def _state(self, keep_vars: bool = False) -> dict[str, Tensor]:
        body = self.body.state_dict(keep_vars=keep_vars)
        state = {self.names.body + name: value for name, value in body.items()}
        if self.head is not None:
            head = self.head.state_dict(keep_vars=keep_vars)
            state |= {self.names.of_head(name): value for name, value in head.items()}
        return state

    def load_state(self, state: Mapping[str, Tensor], *, source: str | None = None) -> None:
        """Copy weights in, given under the original network's names.

        Weights that do not fit as they are go through the library's own conversion first, where it has one: position
        embeddings of a vision transformer at another input size are resampled as the library does it.

        Args:
            source: what a message calls them. Default: "the weights for" this encoder.

        Raises:
            InputError: missing, unexpected or misshapen tensors, quantised ones, numbers that are not finite, or
                constants throughout; the encoder is then unchanged.
        """
        own = self.state()
        given = self._checked(state, own, source)
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(given[name])

    def adopt_state(self, state: Mapping[str, Tensor], *, source: str | None = None) -> None:
        """As `load_state`, but the tensors become the encoder's own where they can: a file that they are mapped from is
        then neither copied nor changed, and must not be written to."""
        own = self._state(keep_vars=True)
        given = self._checked(state, self.state(), source)
        seen = set[int]()
        for name, value in own.items():
            new = given[name].detach().to(value).contiguous()
            value.data = new.clone() if new.data_ptr() in seen else new
            seen.add(new.data_ptr())

    def _checked(
        self, state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str | None
    ) -> dict[str, Tensor]:  # fmt: skip
        given = self._fitted(state, own)
        check_fit(self.name, own, given)
        check_numbers(source or f"the weights for {self.name}", own, given)
        return given

    def fitted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors as they are loaded: this encoder's alone, and converted by the library where that makes them
        fit. Where it does not, they are what they were."""
        return self._fitted(state, self.state())

    def _fitted(self, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        cleaned = self.names.clean(state)
        given = self._complete(cleaned, own)
        if self.names.converted is None or fits(own, given):
            return given
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # how the library does it is its own affair
                made = self._complete(self.names.converted(cleaned), own)
        except Exception:  # another library, on names that may be anyone's: what fails there does not fit
            return given
        return made if fits(own, made) else given

    def _complete(self, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.head is None:
            given = {name: value for name, value in given.items() if not self.names.is_head(name)}
        # files from before torch 0.4.1 have no step counter, which batch norm with a momentum never reads
        return {k: v for k, v in own.items() if k.endswith("num_batches_tracked")} | dict(given)

    def clone(self) -> "Encoder":
        """A copy that shares nothing with this encoder."""
        return copy.deepcopy(self)

    def extra_repr(self) -> str:
        return f"name={self.name!r}, feature_dim={self.feature_dim}, num_classes={self.num_classes}"


def _pooled(raw: Tensor) -> Embeddings:
    return raw.mean(dim=(2, 3)) if raw.ndim == 4 else raw
