"""What a weights file holds, however it was wrapped, and which of it an encoder takes."""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weatherproof.encoders.messages import shown, some
from weatherproof.errors import InputError

if TYPE_CHECKING:
    from weatherproof.encoders.encoder import Names

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # under these keys training scripts keep the tensors
_PREFIXES = ("module.", "_orig_mod.")  # put in front by DistributedDataParallel and torch.compile
_COUNTER = "num_batches_tracked"  # which files from before torch 0.4.1 do not have
_DEPTH = 8  # mappings inside mappings
_MOST = 1_000_000  # named tensors of one file: a mapping may hold the same one again and again

# Of two sets of weights for one network: the averages and the teacher of self-distillation are what papers measure and
# what timm takes, and the copies that follow a trained encoder are not.
_MEASURED = re.compile(r"(^|[._])(ema|averaged?|avg|swa|teacher)(?=[._]|$)", re.IGNORECASE)
_FOLLOWING = re.compile(r"(^|[._])(encoder_k|key_encoder|momentum|target)(?=[._]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """Tensors that may be a network's.

    Args:
        node: the keys of the file's mapping that holds them, joined with ".": "state_dict"; "": the outermost.
        prefix: what stands in front of their names, with its ".".
        matches: how many of the network's own names, without those of its classifier, are among them.
    """

    node: str
    prefix: str
    matches: int

    @property
    def label(self) -> str:
        """What stands after # in FILE#key."""
        return ".".join(filter(None, (self.node, self.prefix.rstrip("."))))

    @property
    def rank(self) -> int:
        return bool(_MEASURED.search(self.label)) - bool(_FOLLOWING.search(self.label))


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Args:
        path: the file's name, for messages.
        nodes: for each mapping in the file, by its keys joined with ".", the tensors that it holds itself.
        key: the part that the user asked for; None: what fits.
        metadata: what a safetensors file says of itself.
    """

    path: str
    nodes: Mapping[str, Mapping[str, Tensor]]
    key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str, content: Any, key: str | None, metadata: Mapping[str, str] | None = None) -> "Checkpoint":
        """From what a reader gave.

        Raises:
            InputError: there are no named tensors in it.
        """
        nodes: dict[str, dict[str, Tensor]] = {}
        budget = [_MOST]
        for label, tensors in _mappings(content, "", _DEPTH, budget):
            nodes.setdefault(label, {}).update(tensors)
        if budget[0] < 0:
            raise InputError(f"{path} holds more than {_MOST} named tensors: save the state dict alone")
        if not any(nodes.values()):
            keys = some([shown(key) for key in content], 8) if isinstance(content, Mapping) and content else "no keys"
            raise InputError(f"{path} holds no named tensors (it has {keys}): expected a state dict (name -> tensor)")
        return cls(path, nodes, key, metadata or {})

    @property
    def names(self) -> list[str]:
        """Of all its tensors."""
        return [name for tensors in self.nodes.values() for name in tensors]

    def plain(self) -> dict[str, Tensor]:
        """The tensors under the key that was asked for, else under the usual one, without prefixes of wrappers.

        Raises:
            InputError: nothing is there, or it is there several times.
        """
        if self.key is not None:
            return _bare(self._under(self.key))
        node = self._usual()
        if not self.nodes[node]:
            full = [label for label, tensors in self.nodes.items() if tensors]
            if len(full) > 1:
                raise InputError(f"{self.path} holds several sets of tensors: {self._offer(full)}")
            node = full[0]
        return _bare(self.nodes[node])

    def tensors_for(self, name: str, names: "Names", own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What of the file is this network's: the tensors under the one key and prefix at which all of its names are.

        Of several that fit, averaged weights go before raw ones, a teacher before its student, and a trained encoder
        before its momentum copy, with a warning that says which were taken. Where nothing fits, the nearest; the names
        then say what is missing.

        Args:
            name: the network's, for messages.
            own: its tensors.

        Raises:
            InputError: several sets of weights fit, and none of them is before the others.
        """
        wanted = {k: v for k, v in own.items() if not names.is_head(k) and not k.endswith(_COUNTER)}
        near = [c for c in self._candidates(names, wanted) if self._is_under_key(c)]
        fitting = self._distinct([c for c in near if c.matches == len(wanted)], names, wanted)
        if not fitting:
            nearest = max(near, key=lambda c: c.matches, default=None)
            return self._stripped(nearest, names) if nearest and 2 * nearest.matches >= len(wanted) else self.plain()
        chosen = self._first(name, fitting)
        others = [c.prefix for c in fitting if c.node == chosen.node and c.prefix and c != chosen]
        if len(fitting) == 1 and self.key is None:
            self._warn_of_others(chosen)
        return self._stripped(chosen, names, without=tuple(others))

    def hint(self, names: "Names", own: Mapping[str, Tensor]) -> str:
        """What the file holds, and where most of the network's names are: for a message that nothing fits."""
        wanted = {k: v for k, v in own.items() if not names.is_head(k) and not k.endswith(_COUNTER)}
        near = max(self._candidates(names, wanted), key=lambda c: c.matches, default=None)
        if near is not None and not near.label:
            return ""
        nearest = (
            "" if near is None else f"; nearest is #{shown(near.label)} with {near.matches} of {len(wanted)} names"
        )
        return f"; {self.path} holds {self._contents()}{nearest}"

    def _candidates(self, names: "Names", wanted: Mapping[str, Tensor]) -> list[Candidate]:
        candidates = []
        for node, tensors in self.nodes.items():
            at: dict[str, int] = defaultdict(int)
            for name in map(names.rename, tensors):
                for prefix, rest in _splits(name):
                    at[prefix] += rest in wanted
            candidates += [Candidate(node, prefix, count) for prefix, count in at.items() if count]
        return candidates

    def _is_under_key(self, candidate: Candidate) -> bool:
        return self.key is None or f".{self.key}." in f".{candidate.label}."

    def _stripped(self, candidate: Candidate, names: "Names", without: tuple[str, ...] = ("\0",)) -> dict[str, Tensor]:
        renamed = {names.rename(name): tensor for name, tensor in self.nodes[candidate.node].items()}
        return {
            name.removeprefix(candidate.prefix): tensor
            for name, tensor in renamed.items()
            if name.startswith(candidate.prefix) and not (without and name.startswith(without))
        }

    def _distinct(self, fitting: list[Candidate], names: "Names", wanted: Mapping[str, Tensor]) -> list[Candidate]:
        """Those of the right shapes, if there are any, each set of numbers once."""
        if len(fitting) < 2:
            return fitting
        states = [self._stripped(candidate, names) for candidate in fitting]
        right = [all(state[k].shape == v.shape for k, v in wanted.items()) for state in states]
        usual = self._usual()
        distinct: list[int] = []
        for i in sorted(range(len(fitting)), key=lambda i: fitting[i].node != usual):
            same = (all(torch.equal(states[i][k], states[j][k]) for k in wanted) for j in distinct)
            if (right[i] or not any(right)) and not any(same):
                distinct.append(i)
        return [fitting[i] for i in distinct]

    def _first(self, name: str, fitting: list[Candidate]) -> Candidate:
        best = [c for c in fitting if c.rank == max(c.rank for c in fitting)]
        if len(best) > 1:
            usual = self._usual()
            best = [c for c in best if c.node == usual and all(p in _PREFIXES for p in _steps(c.prefix))]
        labels = [c.label for c in fitting]
        if len(best) != 1:
            raise InputError(f"{self.path} holds several sets of weights that fit {name}: {self._offer(labels)}")
        if len(fitting) > 1:
            others = some([shown(label) or "the outermost" for label in labels if label != best[0].label])
            warnings.warn(
                f"{self.path} holds several sets of weights that fit {name}: taken is "
                f"{shown(best[0].label) or 'the outermost'}, not {others}; choose with @FILE#KEY",
                UserWarning,
                stacklevel=4,
            )
        return best[0]

    def _warn_of_others(self, chosen: Candidate) -> None:
        inside = self.nodes[chosen.node]
        left = [k for k, v in inside.items() if not k.startswith(chosen.prefix) and v.numel() > 1]
        if left and chosen.prefix:
            warnings.warn(
                f"{self.path}: taken are the tensors under {shown(chosen.label)}; "
                f"{len(left)} others are left out ({some(left)})",
                UserWarning,
                stacklevel=4,
            )

    def _usual(self) -> str:
        """The mapping in which training scripts keep a model's tensors."""
        label = ""
        while True:
            inner = [".".join(filter(None, (label, key))) for key in _WRAPPERS]
            following = next((known for known in inner if known in self.nodes), None)
            if following is None:
                return label
            label = following

    def _under(self, key: str) -> dict[str, Tensor]:
        groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for node, tensors in self.nodes.items():
            for name, tensor in tensors.items():
                full = f".{node}.{name}" if node else f".{name}"
                before, at, rest = full.partition(f".{key}.")
                if at:
                    groups[f"{before}.{key}".strip(".")][rest] = tensor
        if not groups:
            raise InputError(f"{self.path} holds nothing under {shown(key)!r}: it holds {self._contents()}")
        if len(groups) > 1:
            raise InputError(f"{self.path} holds {shown(key)!r} several times: {self._offer(groups)}")
        return next(iter(groups.values()))

    def _offer(self, labels: Iterable[str]) -> str:
        return f"choose one, @FILE#KEY with KEY {some([shown(label) or '(outermost)' for label in labels], 6)}"

    def _contents(self) -> str:
        sets = []
        for node, tensors in self.nodes.items():
            if tensors:
                first = dict.fromkeys(f"{shown(name.split('.')[0])}.*" for name in tensors)
                sets.append(f"{shown(node) or 'outermost'} ({len(tensors)} tensors: {some([*first])})")
        return some(sets, 4)


def _mappings(content: Any, label: str, depth: int, budget: list[int]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping inside, the outermost first, with the tensors that it holds itself."""
    if not isinstance(content, Mapping) or depth == 0 or budget[0] < 0:
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value.detach() for key, value in named.items() if isinstance(value, Tensor)}
    budget[0] -= len(tensors) + 1
    yield label, tensors
    for key, value in named.items():
        yield from _mappings(value, f"{label}.{key}" if label else key, depth - 1, budget)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Every way to take a prefix off: ("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    yield "", name
    at = name.find(".")
    while at >= 0:
        yield name[: at + 1], name[at + 1 :]
        at = name.find(".", at + 1)


def _steps(prefix: str) -> list[str]:
    return [f"{step}." for step in prefix.split(".") if step]


def _bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes of wrappers, in whatever order they were put on."""
    bare = dict(tensors)
    while bare:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in bare)), None)
        if prefix is None:
            break
        bare = {name.removeprefix(prefix): value for name, value in bare.items()}
    return bare
