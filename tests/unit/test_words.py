"""Class names and prompts from files and lists: what is read, and what is refused with the number of its line."""

import sys
from pathlib import Path

import pytest
import torch

from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.evaluation.class_sets import class_fit, head_of_words
from weatherproof.readouts import PROMPTS, words_of


def test_a_file_from_any_editor_is_read_alike(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    for content in (
        "cat\ndog\nfire_truck\tred fire engine",
        "\ufeffcat\r\ndog  \r\nfire_truck\t red fire engine\r\n\r\n",
        "cat\rdog\rfire_truck \tred fire engine\r",
    ):
        file.write_bytes(content.encode())
        words = words_of(file)
        assert words.classes == ("cat", "dog", "fire_truck") and words.names == ("cat", "dog", "red fire engine")
        assert words.prompts == PROMPTS and [*words.files] == [str(file)]
    assert words_of(["cat", "fire_truck"]).names == ("cat", "fire truck")
    assert words_of(["a", "b"], ["{} here", "a {}"]).sentences == ["a here", "a a", "b here", "a b"]
    assert words_of(["{0.real}", "b"], ["a {}"]).sentences == ["a {0.real}", "a b"]  # nothing is filled in


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", "line 2 of .*names.txt is empty"),
        (b"cat\ndog\ncat\n", "line 3 of .*names.txt says 'cat' again, after line 1 of"),
        (b"cat\nCAT\n", "line 2 of .*names.txt says 'CAT' again"),
        (b"n1\tcat\nn2\tcat\n", "line 2 of .* says 'cat' again"),
        (b"n1\tcat\nn1\tdog\n", "line 2 of .* says 'n1' again"),
        (b"n1\tcat\tlion\nn2\tdog\n", "line 1 of .* has several tabs"),
        (b"\tcat\nn2\tdog\n", "line 1 of .* has nothing before its tab"),
        (b"n1\tcat\nn2\t\n", "line 2 of .* has nothing after its tab"),
        (b"cat\n", "names.txt names 1 class: a choice needs two or more"),
        (b"", "names.txt is empty"),
        (b" \n\n", "names.txt is empty"),
        (b"cat\n" + b"d" * 10_000, "line 2 of .* has 10,000 characters, at most 1,000 are read"),
        (b"cat\nd\x1b[2Jog\n", "line 2 of .* has control characters"),
        (b"cat\nd\x00og\n", "line 2 of .* has control characters"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read as classes, it is not UTF-8 at byte 0: save it as a plain text"),
        ("cat\ndog\n".encode("utf-16"), "not UTF-8 at byte 0"),
    ],
)
def test_names_that_cannot_be_used_are_refused_with_their_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        words_of(file)


def test_files_that_are_not_there_or_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file '.*names.txt' of classes"):
        words_of(tmp_path / "names.txt")
    with pytest.raises(InputError, match="no regular file"):
        words_of(tmp_path)
    with pytest.raises(InputError, match="no file '.*prompts.txt' of prompts"):
        words_of(["cat", "dog"], tmp_path / "prompts.txt")
    with pytest.raises(InputError, match="classes are texts or a file of them"):
        words_of(["cat", 3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="number 2 of the classes says 'cat' again"):
        words_of(["cat", "cat"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a photo of a cat"], "number 1 of the prompts is 'a photo of a cat': one {} says where"),
        (["a {}", "{} and {}"], "number 2 of the prompts .* one {}"),
        (["a {}", "a {}"], "number 2 of the prompts says 'a {}' again"),
        ([], "the list of prompts is empty"),
    ],
)
def test_a_prompt_says_once_where_the_class_goes(lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        words_of(["cat", "dog"], lines)


def test_the_lists_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of("imagenet", "openai-80")
    assert len(words.classes) == len(words.names) == 1000 and len(words.prompts) == 80
    assert (words.classes[0], words.names[0], words.prompts[0]) == ("n01440764", "tench", "a bad photo of a {}.")
    assert {*PROMPTS} <= {*words.prompts}
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r"open_clip is not installed: pip install 'weatherproof\[clip\]'"):
        words_of("imagenet")


def images(*classes: str) -> MemoryImages:
    labels = torch.arange(len(classes))
    return MemoryImages(torch.zeros(len(classes), 3, 2, 2, dtype=torch.uint8), labels, classes, name="few")


def test_words_are_matched_with_folders_by_either_name_and_shown_as_words() -> None:
    head = head_of_words(("n2", "n1", "n3"), ("dog", "cat", "fire truck"))
    fit = class_fit(head, images("n1", "n2", "n3"))
    assert fit.believed and fit.order == (1, 0, 2) and fit.classes == ("cat", "dog", "fire truck")
    assert class_fit(head, images("n2", "n1", "n3")).classes == ("dog", "cat", "fire truck")
    some = class_fit(head, images("N3", "n1"))
    assert some.believed and some.order == (2, 1, 0) and some.among == 3 and some.classes[0] == "fire truck"
    assert class_fit(head, images("Cat", "dog", "Fire-Truck")).order == (1, 0, 2)
    other = class_fit(head, images("x", "y", "z"))
    assert not other.believed and "the classifier's classes are n2, n1, n3" in other.why
    told = class_fit(head, images("x", "y", "z"), classes_match=True)
    assert told.believed and told.classes == ("dog", "cat", "fire truck")
