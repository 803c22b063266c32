"""What a page says of a search for settings."""

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from weatherproof.objectives import REGULARIZERS, parse_regularizer
from weatherproof.reports.parts import read_part
from weatherproof.reports.search.section import SEARCH
from weatherproof.reports.words.regularizers import WEIGHTS, regularizer_words


def trial(stage: str, lr: float, value: float | None, *regularizers: str) -> dict[str, Any]:
    setting = {"lr": lr, "regularizers": list(regularizers)}
    return {"stage": stage, "setting": setting, "value": value, "stderr": None if value is None else 0.01}


def test_what_decided_each_choice_is_marked(tmp_path: Path) -> None:
    kept = "L2SP(beta=0.001)"
    trials = [
        trial("learning rate", 0.01, None, "SimilarityMatrix()", kept),
        trial("learning rate", 0.001, 0.9, "SimilarityMatrix()", kept),
        trial("SimilarityMatrix", 0.001, 0.89, "SimilarityMatrix(weight=10.0)", kept),
        trial("SimilarityMatrix", 0.001, 0.9, "SimilarityMatrix()", kept),
        trial("L2SP", 0.001, 0.9, "SimilarityMatrix(weight=10.0)", "L2SP()"),
        trial("L2SP", 0.001, 0.8, "SimilarityMatrix(weight=10.0)", kept),
    ]
    chosen = {"lr": 0.001, "regularizers": ["SimilarityMatrix(weight=10.0)", "L2SP()"]}
    said = {"metric": "top1", "epochs": 2, "images": 90, "held_out": 10, "trials": trials, "chosen": chosen}
    (tmp_path / SEARCH.name).write_text(json.dumps(said))
    found = read_part(tmp_path, SEARCH)
    assert found is not None
    assert [t.chosen for t in found.rows] == [False, True, True, False, True, False]
    assert found.sentence.endswith("Taken: learning rate 0.001, SimilarityMatrix(10) and L2SP(0.1, 0.01).")
    assert found.rows[0].text == "the loss became no number"
    assert found.rows[0].regularizers == "SimilarityMatrix(1), L2SP(0.1, 0.001)"


def test_the_words_know_the_weights_of_every_regularizer() -> None:
    assert {*WEIGHTS} == {*REGULARIZERS}
    for name, kind in REGULARIZERS.items():
        known = {own.name: None if own.default is MISSING else own.default for own in fields(kind)}
        assert WEIGHTS[name] == {own: known[own] for own in known if own in ("weight", "alpha", "beta")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SimilarityMatrix(weight=10.0, squared=True)", "SimilarityMatrix(10, squared=True)"),
        ("L2SP(beta=0.001)", "L2SP(0.1, 0.001)"),
        ("InputGradient(0.1, method='finite', step=0.02)", "InputGradient(0.1, method='finite', step=0.02)"),
    ],
)
def test_a_regularizer_is_said_with_its_weights(text: str, expected: str) -> None:
    assert regularizer_words(text) == regularizer_words(repr(parse_regularizer(text))) == expected


def test_what_is_no_regularizer_stays_as_it_is() -> None:
    for text in ("", "Other(1)", "L2SP(", "open('/etc/passwd')"):
        assert regularizer_words(text) == text
