"""What is exported: an encoder, what stands on it, and what its run folder says of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weatherproof import operators
from weatherproof.data import ImageSet, load_images
from weatherproof.encoders import Encoder
from weatherproof.encoders.adapters import merged
from weatherproof.encoders.adapters.folder import body_hash
from weatherproof.encoders.gate import Gated
from weatherproof.errors import InputError, one_line
from weatherproof.evaluation.suites.contamination import trained_on
from weatherproof.names import printable
from weatherproof.protocols import Operator
from weatherproof.readouts import Readout, load_readout
from weatherproof.recipe import flat
from weatherproof.sizes import GivenSize, Size, in_pixels, sides, size_of
from weatherproof.texts import Malformed, read_yaml
from weatherproof.verbs.export.checking import embedded
from weatherproof.verbs.export.graph import MEANINGS, Graph, Pixels, Shape, resizes
from weatherproof.verbs.inputs import pretrained
from weatherproof.verbs.outcome import Outcome, text_of

_ANY = (64, 64)  # of the images that a folder is verified on, of a network that takes any size


@dataclass
class Subject:
    """An encoder to hand on.

    Attributes:
        text: as it was named.
        encoder: a copy on the processor, in float32.
        folder: the run that it comes from; None: it comes from none.
        recipe: what the run was asked for; empty where there is none.
        notes: sentences that belong beside the numbers.
    """

    text: str
    encoder: Encoder
    folder: Path | None
    readout: Readout | None
    recipe: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.resolve().name if self.folder is not None else self.encoder.name

    @property
    def training_damage(self) -> str | None:
        """The damage, and the looks, that it was trained on."""
        return trained_on(self.folder) if self.folder is not None else None

    @property
    def against(self) -> str | None:
        """The damage that it was hardened against; None where another verb trained it."""
        return self.training_damage if self.recipe.get("verb", "harden") == "harden" else None

    @property
    def operator(self) -> Operator | None:
        """The damage of its run."""
        given = self.recipe.get("operator")
        if not isinstance(given, str):
            return None
        try:
            return operators.parse(given)
        except InputError as error:
            self.notes.append(f"not verified under the run's own damage: {one_line(error)}")
            return None


def subject_of(source: str | Path | Encoder | Outcome, size: GivenSize | None) -> Subject:
    """Load what is to be exported. Raises what `pretrained` and `load_readout` raise."""
    if isinstance(source, Outcome):
        source = source.folder
    folder = None
    if not isinstance(source, Encoder):
        path = Path(source).expanduser()
        folder = path if path.is_dir() else None
    loaded = pretrained(folder or source, size=size)
    encoder = loaded.clone().cpu().float().eval()
    readout = None if folder is None else load_readout(folder)
    recipe = {} if folder is None else _recipe(folder)
    return Subject(printable(text_of(source)), encoder, folder, readout, recipe)


def alone(subject: Subject) -> Subject:
    """The subject without a gate and adapters: of a gate the hardened network, with a note that says so."""
    encoder = subject.encoder
    if isinstance(encoder, Gated):
        subject.notes.append(
            "a gate is two networks, which no other library knows: this is the hardened one alone, as in hardened/ of "
            "the run; the whole goes out with --to onnx or --to torch"
        )
        encoder = encoder.hardened
    plain = merged(encoder)
    plain.set_gauge(None)
    return Subject(subject.text, plain.eval(), subject.folder, subject.readout, subject.recipe, subject.notes)


def pictures(
    subject: Subject, source: str | Path | ImageSet | None, size: GivenSize | None, *, fixed_size: bool
) -> tuple[ImageSet, Shape]:
    """The images that the export is verified on, and what goes into it.

    Without a source those that the run was made with, and where these are not there any more, or it was made with none,
    those that are always there, with a note.

    Args:
        fixed_size: the size of the input becomes part of what is exported, so that it has to be known.

    Raises:
        InputError: a source that cannot be read, or is of another size than the network; or nothing says how large the
            input of a network is that takes any size.
    """
    encoder = subject.encoder
    wanted = encoder.preprocessing.size or size_of(size) or _size(subject.recipe.get("size"))
    channels = encoder.preprocessing.channels
    named = source if source is not None else subject.recipe.get("images")
    images = None
    if named is not None:
        try:
            images = _test_images(named, wanted)
        except InputError as error:
            if source is not None:
                raise
            subject.notes.append(f"verified on other images, since the run's own are not to be had: {one_line(error)}")
    else:
        subject.notes.append("verified on images that are always there: name images of your own with --images")
    fixed = images.image_size if images is not None else None
    if images is not None and fixed is None:
        raise InputError(f"the images in {images.name!r} differ in size: give --size N to read all as N x N pixels")
    side = sides(wanted) if wanted else fixed
    if side is None and fixed_size:
        raise InputError(f"{encoder.name} takes images of any size, and a file has one: give --size N, or --images")
    side = side or _ANY
    shape = Shape(*side, resized=resizes(encoder))
    if images is None:
        images = embedded(channels, side)
    elif fixed != side:
        raise InputError(
            f"the images in {images.name!r} have {in_pixels(fixed or side)} pixels, and the network takes "
            f"{in_pixels(side)}: name their source as a text, so that they are read at its size"
        )
    return images, shape


def described(
    subject: Subject, graph: Graph, shapes: Mapping[str, tuple[int, ...]], pixels: Pixels, form: str
) -> dict[str, Any]:
    """What the file says of itself."""
    encoder, shape = subject.encoder, graph.shape
    about: dict[str, Any] = {
        "format": form,
        "encoder": encoder.name,
        "run": None if subject.folder is None else printable(subject.folder.resolve().name),
        "sha256": body_hash(encoder),
        "input": {
            "name": "images",
            "pixels": "uint8 from 0 to 255" if pixels == "uint8" else "float32 in [0, 1]",
            "layout": "batch, channels, height, width; RGB or grey",
            "shape": ["batch", encoder.preprocessing.channels]
            + (["height", "width"] if shape.resized else [shape.height, shape.width]),
        },
        "preprocessing": asdict(encoder.preprocessing) | {"inside": True},
        "outputs": [{"name": n, "shape": ["batch", *sides], "meaning": MEANINGS[n]} for n, sides in shapes.items()],
        "hardened_against": subject.against,
    }
    if subject.readout is not None:
        about["classes"] = list(subject.readout.classes)
    if graph.has_gauge:
        about["kinds"] = list(encoder.own_gauge.kinds)
    if isinstance(encoder, Gated):
        opens = encoder.extra_settings()["gate"]
        about["gate"] = {
            "low": opens["low"],
            "high": opens["high"],
            "how": "both networks see every image; the weight mixes them, at 0 and 1 one of them alone",
        }
    return about


def _test_images(source: object, size: Size | None) -> ImageSet:
    if isinstance(source, str | Path) or not isinstance(source, ImageSet):
        return load_images(str(source), "test", size=size)
    return source


def _size(value: object) -> Size | None:
    """What a recipe says of the size, where it is one."""
    try:
        return size_of(value) if isinstance(value, int | str) else None
    except InputError:
        return None


def _recipe(folder: Path) -> Mapping[str, Any]:
    """What the run was asked for; of its hardened/, what its parent was."""
    for place in (folder, folder.resolve().parent):
        if (place / "recipe.yaml").is_file():
            try:
                found = read_yaml(place / "recipe.yaml")
            except (OSError, Malformed) as error:
                raise InputError(f"{place / 'recipe.yaml'} cannot be read: {error}") from None
            return flat(found) if isinstance(found, dict) else {}
    return {}
