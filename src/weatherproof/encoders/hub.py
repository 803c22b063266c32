"""Weights that a library publishes, from the cache of the library's own client, else downloaded once by it."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from weatherproof.encoders.digests import sha256_of
from weatherproof.encoders.messages import one_line, some
from weatherproof.encoders.origin import Origin, Place
from weatherproof.errors import InputError, shown
from weatherproof.files import OF_THE_DISK, disk_errors
from weatherproof.progress import phase
from weatherproof.texts import Malformed, read_json

_INDEX = ".index.json"  # of weights that are split over several files
_MOST_SHARDS = 1000
_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")  # as the hub's cache calls what it holds
RANDOM = "random"  # after an @, in place of a file
REVISION = "revision:"  # after an @, before a commit or tag
_REVISION = re.compile(r"(?!.*\.\.)\w[\w.+/-]*")
_MB = 1 << 20
Result = TypeVar("Result")


class NotCachedError(InputError):
    """Published weights are not on this machine, and could not be fetched."""


@dataclass(frozen=True)
class Fetched:
    """A published file on this machine.

    Args:
        path: of the file.
        name: what it is called: "timm/resnet10t.c3_in1k/model.safetensors", an address or a path.
        commit: of the hub's repository.
        expected: the beginning of the SHA-256, or git's SHA-1, that it is to have; "": nobody says.
    """

    path: Path
    name: str
    commit: str | None = None
    expected: str = ""

    def origin(self) -> Origin | None:
        """What it is, by its content; None: it is not what was published, such as half of it."""
        sha256 = sha256_of(self.path)
        if _GIT.fullmatch(self.expected):
            whole = _git_hash(self.path) == self.expected
        else:
            whole = sha256.startswith(self.expected)
        return Origin(self.name, sha256, self.commit) if whole else None


def check_revision(place: Place, revision: str | None) -> None:
    """Raise `InputError` for a revision of what has none, or what cannot be one: it becomes part of a path."""
    if revision is not None and not place.repo:
        raise InputError(f"{place.text} is not from the Hugging Face hub: it has no revision {shown(revision)}")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise InputError(f"{shown(revision)} is no commit, tag or branch of {place.repo}")


def fetch(
    place: Place, revision: str | None = None, *, again: bool = False, download: bool = True
) -> list[Fetched]:  # fmt: skip
    """The files of the weights, several where they are split.

    Args:
        revision: a commit, tag or branch of the hub's repository; None: as in the cache, else the newest.
        again: not from the cache.
        download: False: from the cache alone.

    Raises:
        InputError: they are neither in the cache nor to be had (`NotCachedError`), in one line that says what to fetch.
    """
    check_revision(place, revision)
    if place.folder:
        return _shards(_in_folder(place), lambda name: _local(Path(place.folder) / name))
    if place.url:
        return [_from_address(place, again=again, download=download)]
    first = from_hub(place, place.files, revision, again=again, download=download)
    pinned = first.commit or revision
    return _shards(first, lambda name: from_hub(place, (name,), pinned, again=again, download=download))


def used_whole(
    place: Place, revision: str | None, text: str, use: Callable[[list[Fetched]], Result]
) -> tuple[Result, tuple[Origin, ...]]:
    """What is made of published files, and which files these are. Their hashes are taken meanwhile; what is not as it
    was published, such as half of a download, is fetched again.

    Args:
        text: of the encoder, as the user wrote it.

    Raises:
        InputError: of `fetch`, or of `use` on files that are whole, or files that are not, also after they were fetched
            again.
    """
    for again in (False, True):
        files = fetch(place, revision, again=again)
        with ThreadPoolExecutor(1) as beside:
            hashing = beside.submit(_origins, files)
            try:
                result = use(files)
            except InputError:
                if hashing.result() is not None or again:
                    raise
                continue
            origins = hashing.result()
        if origins is not None:
            return result, origins
    raise InputError(
        f"{files[0].path} is not what {place.repo or place.url} publishes, also after it was fetched again: remove it "
        f"and try later, or give a file, {text}@FILE"
    )


def _origins(files: Sequence[Fetched]) -> tuple[Origin, ...] | None:
    """Where the weights come from; None: one of the files is not what was published."""
    found = [file.origin() for file in files]
    return None if None in found else tuple(origin for origin in found if origin is not None)


def from_hub(
    place: Place, files: tuple[str, ...], revision: str | None, *, again: bool = False, download: bool = True
) -> Fetched:
    """The first of the files that the repository has.

    Args:
        again: not from the cache.
        download: False: from the cache alone.

    Raises:
        InputError: it is neither in the cache nor to be had.
    """
    found = found_on_hub(place, files, revision, again=again, download=download)
    if found is None:
        raise InputError(
            f"{place.repo}{_at(revision)} on the hub has none of {some(files, 6)}: give a file, {place.text}@FILE"
        )
    return found


def found_on_hub(
    place: Place, files: tuple[str, ...], revision: str | None, *, again: bool = False, download: bool = True
) -> Fetched | None:
    """As `from_hub`; None: the repository has none of the files.

    Raises:
        InputError: none is in the cache, and whether the repository has one is not to be known.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        cached = [try_to_load_from_cache(place.repo, file, revision=revision or "main") for file in files]
    except (HFValidationError, ValueError) as error:
        raise InputError(f"{shown(place.repo)} is no name of a repository of the hub: {one_line(error)}") from None
    for file, found in zip(files, cached, strict=True):
        if isinstance(found, str) and not again:
            return _of_cache(place, file, Path(found))
    if not download:
        raise _unreachable(place, files, revision, "nothing is downloaded for it")
    for file in files:
        try:
            return _of_cache(place, file, _downloaded(place, file, revision, again=again))
        except EntryNotFoundError:
            continue
        except _NotReachedError as error:
            raise _unreachable(place, files, revision, str(error), damaged=again) from None
    return None


class _NotReachedError(Exception):
    """Why the hub is not there."""


def _downloaded(place: Place, file: str, revision: str | None, *, again: bool) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/{place.repo}"
    asked = False
    try:
        # without a network the client itself would try for half a minute, and say so in a dozen lines
        get_hf_file_metadata(hf_hub_url(place.repo, file, revision=revision))
        asked = True
        with _bars(f"downloading {place.repo}/{file}") as bars:
            return Path(hf_hub_download(place.repo, file, revision=revision, force_download=again, tqdm_class=bars))
    except EntryNotFoundError:
        raise
    except GatedRepoError:
        raise InputError(
            f"{place.repo} is gated: accept its conditions at {page} and log in (`hf auth login`), or give a file, "
            f"{place.text}@FILE"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"the hub has no repository {place.repo} for you: check its name; where it is private, log in "
            f"(`hf auth login`); or give a file, {place.text}@FILE"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{place.repo} has no revision {shown(revision)}: {page}/commits/main names them") from None
    except OfflineModeIsEnabled:
        raise _NotReachedError("HF_HUB_OFFLINE is set") from None
    except HfHubHTTPError as error:
        raise InputError(f"{page} refuses {file}: {one_line(error)}; give a file, {place.text}@FILE") from None
    except Exception as error:  # of a client whose own library of connections changes from version to version
        if not asked:
            raise _NotReachedError(f"{constants.ENDPOINT} is not reached ({one_line(error)[:80]})") from error
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            with disk_errors(Path(constants.HF_HUB_CACHE)):
                raise
        raise InputError(
            f"the download of {file} from {page} broke off: {type(error).__name__}: {one_line(error)}; "
            "the same command goes on with it"
        ) from error


def _unreachable(
    place: Place, files: tuple[str, ...], revision: str | None, why: str, *, damaged: bool = False
) -> NotCachedError:
    from huggingface_hub import constants

    version = f" --revision {revision}" if revision else ""
    found = "is not what was published, such as half of a download," if damaged else "is not"
    needed = " ".join((*place.beside, place.files[0])) if place.beside else files[0]
    cache = Path(constants.HF_HUB_CACHE)
    other = f"put these files into a folder and write {place.text.partition(':')[0]}:FOLDER" if place.beside else (
        f"give a file, {place.text}@FILE"
    )  # fmt: skip
    return NotCachedError(
        f"{place.text}: {files[0]} of {place.repo}{_at(revision)} {found} in the cache {cache}, and {why}: fetch "
        f"{'them' if place.beside else 'it'} where there is a network, `hf download {place.repo} {needed}{version}`, "
        f"and copy the cache's folder models--{place.repo.replace('/', '--')} into this one, or {other}"
    )


def _at(revision: str | None) -> str:
    return f" at {revision}" if revision else ""


def _of_cache(place: Place, file: str, path: Path) -> Fetched:
    parts = path.parts
    commit = parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1] if "snapshots" in parts else None
    # the cache links to what it holds, by the hash that the hub names; where there are no links, nobody says
    linked = path.readlink().name if path.is_symlink() else ""
    known = linked if _SHA256.fullmatch(linked) or _GIT.fullmatch(linked) else ""
    return Fetched(path, f"{place.repo}/{file}", commit, known)


def _git_hash(path: Path) -> str:
    content = path.read_bytes()  # of a small file: large ones have a SHA-256
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _in_folder(place: Place) -> Fetched:
    for file in place.files:
        if (Path(place.folder) / file).is_file():
            return _local(Path(place.folder) / file)
    raise InputError(f"{place.folder} has none of {some(place.files, 6)}: expected a folder as the hub lays one out")


def _local(path: Path) -> Fetched:
    return Fetched(path, str(path))


def _shards(first: Fetched, get: Callable[[str], Fetched]) -> list[Fetched]:
    if not first.path.name.endswith(_INDEX):
        return [first]
    try:
        names = sorted({str(name) for name in read_json(first.path)["weight_map"].values()})
    except (Malformed, OSError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{first.path} does not name the files of its weights: {one_line(error)}") from None
    if not 0 < len(names) <= _MOST_SHARDS or any(Path(name).name != name for name in names):
        raise InputError(f"{first.path} names other files than those beside it, or none")
    return [get(name) for name in names]


def _from_address(place: Place, *, again: bool, download: bool) -> Fetched:
    """By torch.hub, into its folder, with the hash that the file's name holds."""
    import torch

    name = place.url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    marked = torch.hub.HASH_REGEX.search(name)
    known = marked.group(1) if marked else ""
    if again or not path.is_file():
        if not download:
            raise NotCachedError(f"{place.text}: {name} is not in {path.parent}, and nothing is downloaded for it")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with phase(f"downloading {place.url}"):
                torch.hub.download_url_to_file(place.url, str(path), known or None, progress=False)
        except Exception as error:  # no network, another answer than the file, another hash, or the disk
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                with disk_errors(path):
                    raise
            raise NotCachedError(
                f"{place.text}: {name} is not in {path.parent}, and {place.url} is not to be had "
                f"({one_line(error)[:120]}): put the file there, or give it, {place.text}@FILE"
            ) from None
    return Fetched(path, place.url, None, known)


class _Bar:
    """What the hub's client takes for its bar of progress: a phase of ours, in megabytes."""

    label = ""

    def __init__(self, *_: Any, **settings: Any) -> None:
        self.total, self.n = settings.get("total"), int(settings.get("initial") or 0)
        self.format_dict: dict[str, Any] = {}
        self._stack = ExitStack()
        whole = None if self.total is None else _megabytes(self.total)
        self._meter = self._stack.enter_context(phase(self.label, whole, "MB", done=_megabytes(self.n)))

    def update(self, count: float | None = 1) -> None:
        before = _megabytes(self.n)
        self.n += int(count or 0)
        self._meter.advance(_megabytes(self.n) - before)

    def close(self) -> None:
        self._stack.close()

    def refresh(self, *_: Any, **__: Any) -> None: ...

    def set_postfix_str(self, *_: Any, **__: Any) -> None: ...

    def update_transfer(self, *_: Any) -> None: ...

    def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _megabytes(count: float) -> int:
    """Begun ones, so that the last is told too."""
    return -(-int(count) // _MB)


@contextmanager
def _bars(label: str) -> Iterator[type[_Bar]]:
    """The class of which the client makes its bars inside, each of which is closed at the end."""
    bars: list[_Bar] = []

    class Bar(_Bar):
        def __init__(self, *given: Any, **settings: Any) -> None:
            super().__init__(*given, **settings)
            bars.append(self)

    Bar.label = label
    try:
        yield Bar
    finally:
        for bar in bars:
            bar.close()
