"""The package's public names: what the top level offers, what the documentation promises, and what is really there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import weatherproof as wp

DOCUMENTS = [*Path(__file__).parents[2].glob("docs/**/*.md"), Path(__file__).parents[2] / "README.md"]
# Rooms that a user of the package reaches by `wp.`; spec, protocols, types and the command line are imported by name.
PROMISED = {
    "attacks", "audit", "cluster", "compare", "corrupt", "data", "demo", "doctor", "embed", "embedded", "encoders",
    "evaluation", "export", "finetune", "harden", "load_embeddings", "load_encoder", "load_images", "methods",
    "objectives", "operators", "prepare", "pretrain", "probe", "random", "readouts", "reports", "reproduce",
    "restoration", "shard", "studies", "train", "training", "views",
}  # fmt: skip


def promised() -> dict[str, str]:
    """By dotted name, a document that mentions it as `wp.name` or `weatherproof.name`."""
    found = {}
    for document in DOCUMENTS:
        for name in re.findall(r"\b(?:wp|weatherproof)\.([a-zA-Z_][\w.]*\w)", document.read_text(encoding="utf-8")):
            found[name] = document.name
    return found


def test_the_top_level_offers_what_is_promised() -> None:
    assert set(wp.__all__) == PROMISED
    assert {*wp.__all__} <= {*dir(wp)}


def test_every_package_of_the_house_is_offered() -> None:
    rooms = {path.parent.name for path in Path(wp.__file__).parent.glob("*/__init__.py")} - {"verbs"}
    assert rooms <= {*wp.__all__}


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_offered_name_is_there_with_all_that_it_lists(name: str) -> None:
    value = getattr(wp, name)
    for inner in getattr(value, "__all__", ()):
        assert hasattr(value, inner), f"wp.{name}.{inner} is listed and missing"


def test_names_in_the_documents_are_there() -> None:
    names = promised()
    assert len(names) > 20
    for name, document in names.items():
        value, rest = wp, name.split(".")
        if rest[0] not in wp.__all__:  # a module that is imported by its name
            value = import_module(f"weatherproof.{rest.pop(0)}")
        for part in rest:
            assert hasattr(value, part), f"{document} says {name}, which is not there"
            value = getattr(value, part)


def test_nothing_else_is_offered() -> None:
    with pytest.raises(AttributeError, match="no attribute 'atacks'"):
        wp.atacks  # noqa: B018
