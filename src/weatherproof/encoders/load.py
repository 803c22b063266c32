"""From text to an encoder: `resnet20`, `timm:resnet10t`, `torchvision:resnet18@weights.safetensors`, a run folder."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof import spec, texts
from weatherproof.encoders import folder
from weatherproof.encoders.adapter import no_options
from weatherproof.encoders.checkpoint import Checkpoint
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.gate import reopened
from weatherproof.encoders.gauge.folder import read_gauge
from weatherproof.encoders.hub import RANDOM, REVISION, Fetched, check_revision, fetch, used_whole
from weatherproof.encoders.libraries.open_clip import build_open_clip, open_clip_place
from weatherproof.encoders.libraries.timm import build_timm, timm_place, timm_shapes
from weatherproof.encoders.libraries.torchvision import build_torchvision, torchvision_place
from weatherproof.encoders.libraries.transformers import build_transformers
from weatherproof.encoders.libraries.transformers_options import (
    suited,
    transformers_config,
    transformers_options,
    transformers_place,
)
from weatherproof.encoders.likely import likely
from weatherproof.encoders.messages import one_line, some
from weatherproof.encoders.native import ENCODERS, build_native
from weatherproof.encoders.origin import Place, not_published
from weatherproof.encoders.own import IN_HAND, encoder_of_file, given_preprocessing, own_encoder, unwrapped, usable
from weatherproof.encoders.positions import knows_positions, move, scrambles
from weatherproof.encoders.releases import released
from weatherproof.encoders.unfilled import Unfilled
from weatherproof.encoders.weights import check_fit, fits, is_folder, read_checkpoint, read_published, read_weights
from weatherproof.errors import InputError, shown, unknown
from weatherproof.modes import evaluating
from weatherproof.random import framework_seed
from weatherproof.sizes import GivenSize, Size, in_pixels, sides, size_of, size_words
from weatherproof.spec import names_a_file

_MOST_CLASSES = 10_000_000
Build = Callable[[str, Mapping[str, Any], int | None, Size | None], Encoder]
LIBRARIES: dict[str, Build] = {
    "timm": build_timm, "torchvision": build_torchvision, "open_clip": build_open_clip,
    "transformers": build_transformers,
}  # fmt: skip
_PLACES: dict[str, Callable[[str], Place]] = {
    "timm": timm_place, "torchvision": torchvision_place, "open_clip": open_clip_place,
    "transformers": transformers_place,
}  # fmt: skip


def load_encoder(
    name_or_run: str | Path | nn.Module,
    *,
    size: GivenSize | None = None,
    num_classes: int | None = None,
    seed: int = 0,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    interpolation: str = "bilinear",
    like: nn.Module | None = None,
) -> Encoder:
    """An encoder from its text, from a finished run or from a network in the hand.

    That of a run is in evaluation mode, in which its page has measured it; a network in the hand stays in its own mode,
    and what a text makes is in train mode.

    A library's name means the weights that the library publishes for it: from its cache on this machine, else
    downloaded once.

    Args:
        name_or_run: a library's network, "timm:NAME", "torchvision:NAME", "open_clip:NAME/TAG" or
            "transformers:ORG/NAME", pretrained; a native name ("resnet20", with options "small(width=32)", which
            timm's have, too: "timm:vit_tiny_patch16_224(depth=4)@random") or "path/to/file.py:make_model". After each
            may stand "@weights.safetensors", "@checkpoint.pth#KEY" for the tensors under a key of the file, or
            "@random", which a native name alone means too, with a warning (verbs that want a pretrained encoder refuse
            it); after a library's "@revision:COMMIT_OR_TAG" of the hub. Or a run folder; or a network
            (`torch.nn.Module`), of which a copy is taken (docs/encoders.md says how it is read); or an encoder, which
            is returned as it is, in float32; at another size a copy.
        size: side of the input to resize to, or rows x columns as (224, 288) or "224x288", instead of the encoder's
            own. Of a network: None for any size.
        num_classes: classes of the encoder's own classifier; 0: none. Default: what the weights file has, else the
            library's default, else none.
        seed: of the random weights where no weights are given.
        mean, std: what a network expects of pixels in [0, 1], one number for each channel or one for all, and how
            it wants them resized, "bilinear" or "bicubic". Of a network alone; by default what it says of itself.
        like: of a run whose encoder was such a network: one of the same build, whose weights are not looked at.

    Raises:
        InputError: unknown name, no such file or folder, nothing to download or no network, weights that do not fit or
            are not finite, a network that says nothing of its pixels or cannot be run, or something else than a text, a
            path or a network.
    """
    size = size_of(size)
    if isinstance(name_or_run, nn.Module):
        name_or_run = unwrapped(name_or_run)
    expected = given_preprocessing(mean, std, size, interpolation, name_or_run)
    if isinstance(name_or_run, Encoder):
        if expected is not None or num_classes not in (None, name_or_run.num_classes or 0):
            raise InputError(f"the encoder {name_or_run.name} has a mean, std and classes of its own: leave them out")
        return _at(usable(name_or_run), size)
    if isinstance(name_or_run, nn.Module):
        _check(num_classes)
        return own_encoder(name_or_run, expected, num_classes=num_classes, size=size)
    if not isinstance(name_or_run, str | Path):
        raise InputError(
            f"expected an encoder's text such as resnet20@WEIGHTS, a run folder or a torch.nn.Module, got a "
            f"{type(name_or_run).__qualname__}"
        )
    if expected is not None:
        raise InputError(f"mean and std are those of a network in the hand: {shown(str(name_or_run))} has its own")
    _check(num_classes)
    text = _text(name_or_run)
    name, at, weights = text.partition("@")
    if isinstance(name_or_run, Path) or not _is_name(name):
        return _load_run(Path(text), size, num_classes, like).eval()
    if at and not weights:
        raise InputError(f"nothing stands after the @ of {shown(text)}: write @FILE, @random, or no @")
    from_library = name.partition(":")[0] in LIBRARIES and not names_a_file(name)
    if weights == RANDOM or (not at and names_a_file(name)):
        return _build(name, num_classes, size, seed)
    if weights.startswith(REVISION) and not from_library:
        raise InputError(f"{name} is not from the Hugging Face hub: it has no {shown(weights)}")
    if from_library and (not at or weights.startswith(REVISION)):
        return _published(name, weights.removeprefix(REVISION) if at else None, num_classes, size, seed)
    if not at:
        encoder = _build(name, num_classes, size, seed)
        warnings.warn(
            f"{name}: no weights given, so it is randomly initialised; add @FILE, or @random where it is meant so",
            UserWarning,
            stacklevel=2,
        )
        return encoder
    file = read_checkpoint(weights)
    name = released(name, file.path, file.metadata)
    return _with_weights(name, _options_for(name, file), file, weights, num_classes, size, seed)


def _published(name: str, revision: str | None, num_classes: int | None, size: Size | None, seed: int) -> Encoder:
    """The encoder with the weights that its library publishes."""
    library, _, model = name.partition(":")
    bare, bracket, inside = model.partition("(")
    if bracket and not inside.endswith(")"):
        raise _unreadable(name)
    if bracket and library == "timm":
        raise InputError(f"{name}: what timm publishes is without options: write {name}@random, or @FILE with weights")
    if bracket and library != "transformers":
        no_options(f"{library}:{bare}", {bracket + inside: None})
    place = _PLACES[library](model)
    if revision == "":
        raise InputError(f"{name}@{REVISION} names no revision: write a commit or a tag after it")
    check_revision(place, revision)
    mapped = library == "transformers" and place.folder == ""  # as the library does it; nothing writes to a hub's cache
    if mapped:
        revision = transformers_config(place, revision).commit or revision
    options = transformers_options(model, revision) if library == "transformers" else None

    def loaded(files: list[Fetched]) -> Encoder:
        file = read_published([str(one.path) for one in files])
        own = options if options is None else suited(options, file.names)
        return _with_weights(name, own, file, file.path, num_classes, size, seed, published=True, adopt=mapped)

    encoder, origins = used_whole(place, revision, name, loaded)
    encoder.origins = origins
    return encoder


def require_weights(encoder: str | Path | nn.Module) -> None:
    """Raise `InputError` for the name alone of a network written here: of none are weights published, so that a
    verb that wants a pretrained encoder would get random ones."""
    if isinstance(encoder, str) and "@" not in encoder and encoder.partition("(")[0] in ENCODERS:
        raise not_published(_text(encoder))


def published_weights(text: str) -> Checkpoint:
    """The tensors that a library publishes under a name such as "torchvision:resnet101": from its cache on this
    machine, else downloaded once.

    Raises:
        InputError: no such library or name, nothing to download, no network, or not what was published.
    """
    library, _, model = text.partition(":")
    if library not in _PLACES:
        raise unknown("library", library, _PLACES)
    found, _ = used_whole(_PLACES[library](model), None, text, lambda own: read_published([str(f.path) for f in own]))
    return found


def check_weights(text: str, *, size: GivenSize | None = None, num_classes: int | None = None) -> None:
    """Whether `load_encoder` could take the weights file that stands after the @ of a text. Names and shapes of its
    tensors are held against the network's; of a safetensors file the header alone is read.

    Raises:
        InputError: no such file, a damaged one, or that of another network.
    """
    name, _, weights = text.partition("@")
    file = read_checkpoint(weights, outline=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is read: loading says it
        name = released(name, file.path, file.metadata)
        _fitting(name, _options_for(name, file), file, num_classes, size_of(size), seed=0)


def published_place(text: str) -> tuple[Place, str | None]:
    """Where the weights lie that a library publishes under a text such as "timm:resnet10t" or
    "timm:resnet10t@revision:v1", and which revision. Raises `InputError` for an unknown library, name or tag."""
    name, _, after = text.partition("@")
    library, _, model = name.partition(":")
    if library not in _PLACES:
        raise unknown("library", library, _PLACES)
    return _PLACES[library](model), after.removeprefix(REVISION) or None


def cached_weights(text: str) -> list[Fetched]:
    """The files of the weights that a library publishes under a text, from its cache on this machine.

    Raises:
        NotCachedError: they are not there; nothing is downloaded.
        InputError: as `published_place`.
    """
    return fetch(*published_place(text), download=False)


def _options_for(name: str, file: Checkpoint | None = None) -> dict[str, Any] | None:
    """Of a network that its text alone does not make, what its library says of it; for a file nothing is downloaded."""
    library, _, model = name.partition(":")
    if library != "transformers":
        return None
    options = transformers_options(model, download=file is None)
    return options if file is None else suited(options, file.names)


def _text(given: object) -> str:
    try:
        return texts.bounded(str(given))
    except texts.Malformed as error:
        raise InputError(f"no encoder or run folder can be called {shown(str(given))}: {error}") from None


def _check(num_classes: int | None) -> None:
    if num_classes is not None and not 0 <= num_classes <= _MOST_CLASSES:
        raise InputError(
            f"expected a number of classes of at least 0 and at most {_MOST_CLASSES:,}, got {shown(num_classes)}"
        )


def _is_name(name: str) -> bool:
    return name.partition("(")[0] in ENCODERS or name.partition(":")[0] in LIBRARIES or names_a_file(name)


def _with_weights(
    name: str, options: Mapping[str, Any] | None, file: Checkpoint, source: str, num_classes: int | None,
    size: Size | None, seed: int, *, published: bool = False, adopt: bool = False,
) -> Encoder:  # fmt: skip
    """The network with the weights of a file."""
    encoder, state, given = _fitting(name, options, file, num_classes, size, seed, published=published)
    resized = [k for k, v in given.items() if k in state and state[k].shape != v.shape]
    if resized and size is None:
        in_words = size_words(encoder.preprocessing.size or 0)
        warnings.warn(
            f"{file.path} is for another input size: {some(resized)} resampled to {in_words} px, "
            "as the library does it; give the size to keep its own",
            UserWarning,
            stacklevel=4,
        )
    if isinstance(size, tuple) and not resized:
        if knows_positions(encoder.body):  # as many patches as in the square of the file, and in other places
            before = _with_weights(name, options, file, source, num_classes, None, seed, published=published)
            move(before, size)
            given = before.state()
        elif encoder.name.startswith("timm:"):
            with Unfilled():
                own = _build_with(encoder.name, encoder.options, 0, None, seed).preprocessing.size
            if _scrambled(encoder, own, size):
                raise _no_other_size(source, own, size)
    (encoder.adopt_state if adopt else encoder.load_state)(given, source=source)
    return encoder


def _fitting(
    name: str, options: Mapping[str, Any] | None, file: Checkpoint, num_classes: int | None, size: Size | None,
    seed: int, *, published: bool = False,
) -> tuple[Encoder, dict[str, Tensor], dict[str, Tensor]]:  # fmt: skip
    """The network, what of the file is its own, and that as it is loaded. Raises `InputError` where it does not fit."""

    def build(classes: int | None) -> Encoder:
        with nullcontext() if names_a_file(name) else Unfilled():
            return _build(name, classes, size, seed, options)

    encoder = build(num_classes)
    own = encoder.state()
    state = file.tensors_for(name, encoder.names, own)
    tries = [encoder]
    if num_classes is None:
        tries = _by_classes(encoder, state, build, file.path)
    for encoder in tries:
        given = encoder.fitted(state)
        if fits(encoder.state(), given):
            break
    else:
        encoder = tries[0]
        given = encoder.fitted(state)
        hint = file.hint(encoder.names, encoder.state())
        check_fit(name, encoder.state(), given, hint if published else f"{hint}{likely(name, file)}")
    return encoder, state, given


def _by_classes(
    encoder: Encoder, state: Mapping[str, Tensor], build: Callable[[int], Encoder], path: str
) -> list[Encoder]:
    """The encoder with as many classes as the weights have; then, where names that only the library knows may hide
    its classifier, with those of the library."""
    given = encoder.names.clean(state)
    found = encoder.names.classes(given)
    made = encoder if found == (encoder.num_classes or 0) else build(found)
    strange = [name for name in given if encoder.names.is_head(name) and name not in made.state()]
    if found and strange:
        warnings.warn(
            f"{path}: {some(strange)} is not the classifier of {encoder.name}: left out, so that it has none",
            UserWarning,
            stacklevel=5,
        )
        made = build(0)
    return [made] if found or encoder.names.converted is None or made is encoder else [made, encoder]


def _build(
    name: str, num_classes: int | None, size: Size | None, seed: int, options: Mapping[str, Any] | None = None
) -> Encoder:
    options = _options_for(name) if options is None else options
    if names_a_file(name) or options is not None:
        return _build_with(name, options or {}, num_classes, size, seed)
    bare, bracket, inside = name.partition("(")
    try:
        options = spec.parse(f"options({inside}", {"options": _options}, "options") if bracket else {}
    except InputError:
        raise _unreadable(name) from None
    return _build_with(bare, options, num_classes, size, seed)


def _unreadable(name: str) -> InputError:
    return InputError(f"cannot read the encoder {shown(name)}: write options like small(width=32)")


def _options(**given: Any) -> dict[str, Any]:
    return given


def _build_with(
    name: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None, seed: int
) -> Encoder:
    library, colon, model = name.partition(":")
    with framework_seed(seed):
        if names_a_file(name):
            return encoder_of_file(name, options, num_classes, size)
        if colon:
            return LIBRARIES[library](model, options, num_classes, size)
        return build_native(name, options, num_classes, size)


def _a_file(path: Path) -> InputError:
    """An `InputError` for a file where an encoder is expected."""
    if (path.parent / folder.SETTINGS).is_file():
        return InputError(f"{path} is a file of a run: give the run's folder, {path.parent}")
    return InputError(f"{path} is a file: weights stand behind the name of their network, such as resnet20@{path}")


def _load_run(path: Path, size: Size | None, num_classes: int | None, like: nn.Module | None) -> Encoder:
    if not is_folder(path):
        if path.is_file():
            raise _a_file(path)
        if path.parent != Path():
            raise InputError(f"no folder {path}: expected a run folder, or an encoder such as resnet20@WEIGHTS")
        names = [*ENCODERS, *(f"{library}:NAME" for library in LIBRARIES), "a run folder"]
        raise unknown("encoder", str(path), names)
    saved = folder.read(path)
    own = saved.preprocessing.size
    in_hand = saved.name.startswith(IN_HAND)
    if in_hand and like is None:
        raise InputError(
            f"the encoder in {path} is a {saved.name.removeprefix(IN_HAND)} that was given as a network, which no text "
            "makes: wp.load_encoder(run, like=network) with one of the same build; one that is named as "
            "path/to/file.py:make_model comes back by itself"
        )
    if not in_hand and not _is_name(saved.name):
        raise InputError(f"{path / folder.SETTINGS} names the encoder {saved.name!r}, which is not known")
    if num_classes is not None and num_classes not in (0, saved.num_classes):
        raise InputError(f"the encoder in {path} has {saved.num_classes or 'no'} classes, not {num_classes}")
    classes = (saved.num_classes or 0) if num_classes is None else num_classes
    if like is not None and in_hand:
        like = unwrapped(like)
        if not isinstance(like, Encoder):
            like = own_encoder(like, saved.preprocessing, num_classes=classes, size=size)
        encoder = like.clone()
        if classes == 0:
            encoder.drop_head()
    else:
        with nullcontext() if names_a_file(saved.name) else Unfilled():
            encoder = _build_with(saved.name, saved.options, classes, size or own, seed=0)
    if _scrambled(encoder, own, size):
        raise _no_other_size(path, own, size)
    encoder.set_preprocessing(saved.preprocessing_for(size))
    weights = _moved(path, size, num_classes) if _moves(saved, size, encoder) else read_weights(path / folder.WEIGHTS)
    gauge = read_gauge(path, path / folder.WEIGHTS, needed=saved.gate is not None)
    if saved.gate is not None:
        encoder = reopened(encoder, saved.gate, gauge, source=str(path))
    try:
        encoder.load_state(weights, source=str(path / folder.WEIGHTS))
    except InputError:
        if size is None or own is None or isinstance(own, int) or fits(encoder.state(), encoder.fitted(weights)):
            raise
        raise _no_other_size(path, own, size) from None
    if encoder.feature_dim != saved.feature_dim:
        raise InputError(f"{path / folder.SETTINGS}: feature_dim {saved.feature_dim}, built {encoder.feature_dim}")
    encoder.set_gauge(gauge)
    encoder.origins = saved.origins
    return encoder


def _moves(saved: folder.Saved, size: Size | None, encoder: Encoder) -> bool:
    """Whether the size is another than that of a run whose network's positions can be resampled."""
    own = saved.preprocessing.size
    with_size = size is not None and own is not None and size != own
    return with_size and saved.name.partition(":")[0] in ("timm", "open_clip") and knows_positions(encoder.body)


def _at(encoder: Encoder, size: Size | None) -> Encoder:
    """An encoder in the hand, or a copy that sees images of another size. Raises `InputError` where it cannot."""
    own = encoder.preprocessing.size
    if size is None or size == own:
        return encoder
    if _scrambled(encoder, own, size):
        raise _no_other_size(encoder.name, own, size)
    moved = encoder.clone()
    moved.set_preprocessing(replace(encoder.preprocessing, size=size))
    if own is not None and knows_positions(moved.body):
        move(moved, size)
    try:
        with evaluating(moved):
            moved(torch.zeros(1, moved.preprocessing.channels, *sides(size), device=moved.mean.device))
    except Exception as error:  # other people's code, of which anything may come
        raise InputError(
            f"the encoder {encoder.name} cannot see {in_pixels(size)} pixels ({one_line(error)}): load it at that "
            "size, from its text or its run"
        ) from error
    return moved


def _scrambled(encoder: Encoder, own: Size | None, size: Size | None) -> bool:
    """Whether weights for one size would come to wrong places in an encoder of timm's for another."""
    library, _, name = encoder.name.partition(":")
    if library != "timm" or size is None or own is None or size == own or knows_positions(encoder.body):
        return False
    return scrambles(partial(timm_shapes, name, encoder.options), own, size)


def _no_other_size(path: Path | str, own: Size | None, size: Size | None) -> InputError:
    """An `InputError` for a run at another size than its own."""
    return InputError(
        f"{path} was made for {size_words(own or 0)} pixels, from where what it knows of positions comes to no other "
        f"size: leave out the size {size_words(size or 0)}"
    )


def _moved(path: Path, size: Size | None, num_classes: int | None) -> dict[str, Tensor]:
    """The weights of a run at another size than its own."""
    assert size is not None
    with warnings.catch_warnings(action="ignore"):  # of a padding at its own
        before = _load_run(path, None, num_classes, None)
    move(before, size)
    return before.state()
