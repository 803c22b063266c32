"""What the demo's pages show of the encoders that it keeps, those of the first seed: what `harden` shows of its own."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from weatherproof import operators
from weatherproof.data import ImageSet, held_out, load_images
from weatherproof.encoders import Encoder, load_encoder
from weatherproof.evaluation.engine.run import Settings
from weatherproof.evaluation.readings import Head, Judgement, Likeness, Readings, read
from weatherproof.readouts import Readout, classifier_of, load_readout
from weatherproof.readouts.classifier import Normalized
from weatherproof.reports import save_gallery
from weatherproof.reports.hardened.curve import CURVE
from weatherproof.reports.hardened.gauge import GAUGED
from weatherproof.reports.hardened.promise import PROMISE
from weatherproof.reports.parts import save_list, save_part
from weatherproof.training import CleanCosine, RunFolder
from weatherproof.verbs.before_after import bears, changes
from weatherproof.verbs.demo.tasks import REALIZATIONS, Damage, small_feed, student_plan
from weatherproof.verbs.gating import gate_notes, gauged
from weatherproof.verbs.hardened import outcome_of
from weatherproof.verbs.measure import examples

PROMISED = 0.95  # as harden does


def save_page_parts(damage: Damage, run: RunFolder, demo: Path) -> list[str]:
    """The four numbers with their curve, what the gauge answers, the promise and the gallery, as files of a run folder.
    Returns what must be said beside the numbers."""
    feed, (train, test) = small_feed(0), (load_images("digits", split) for split in ("train", "test"))
    held = held_out(train)[1]
    (teacher, clean), (hardened, probe), supervised = map(
        _loaded, (demo / "teacher", run.path, run.path / "supervised")
    )
    readings, kinds = _before_and_after(damage, teacher, hardened, clean, test)
    save_list(run.path, CURVE, changes(readings, kinds, damage.trained_on, ("teacher", "hardened")))
    save_part(run.path, GAUGED, gauged(hardened, held, damage.trained_on, feed))
    promise = CleanCosine(teacher, held, PROMISED, student_plan(0).epochs, device=feed["device"])
    save_part(run.path, PROMISE, outcome_of(promise, hardened, run))
    models = {
        "teacher": classifier_of(teacher, clean),
        "hardened": classifier_of(hardened, probe),
        "supervised": classifier_of(*supervised),
    }
    shown = [operator for operator in damage.tested_on if operator is not None][-2]
    save_gallery(run.path, examples(models, test, shown, seed=0, device=feed["device"]))
    return gate_notes(hardened, borne=bears(readings, damage.trained_on, "teacher"))


def _loaded(folder: Path) -> tuple[Encoder, Readout]:
    encoder, readout = load_encoder(str(folder)), load_readout(folder)
    assert readout is not None
    return encoder, readout


def _before_and_after(
    damage: Damage, teacher: Encoder, hardened: Encoder, clean: Readout, test: ImageSet
) -> tuple[Readings, Sequence[operators.KindLadder]]:
    """Before and after, over the levels of these kinds: by the probe of the teacher's clean embeddings, and by their
    cosine to these; each level of the curves is drawn once."""
    encoders, operator = {"teacher": teacher, "hardened": hardened}, damage.trained_on
    kinds = operators.kind_ladders(operator, min(test.image_size or (0,)))
    rungs = [rung for kind in kinds for _, rung in kind.rungs]
    heads = dict.fromkeys(encoders, Head(nn.Sequential(Normalized(), clean.head)))
    parts = (
        Judgement(heads, ("top1",), clean.kind, 1.0, [None, operator, *rungs]),
        Likeness(tuple(encoders), teacher, [None, operator, *rungs]),
    )
    readings = read(
        encoders, parts, test, [operator], Settings(seed=0), realizations=REALIZATIONS,
        trained_on={"hardened": repr(operator)}, few=rungs, most=len(test),
    )  # fmt: skip
    return readings, kinds
