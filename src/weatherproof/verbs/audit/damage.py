"""An audit by one damage: clean, as it is given, and along its levels."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from weatherproof.protocols import Operator
from weatherproof.verbs.audit.limits import checked, require_known
from weatherproof.verbs.audit.subject import Subject
from weatherproof.verbs.inputs import has_labels, pretrained, require_embeds, require_works
from weatherproof.verbs.measure import Measurement, measured_outcome, own_fit
from weatherproof.verbs.outcome import Outcome


def audit_damage(
    subject: Subject, operator: Operator | None, teacher: str | Path | nn.Module | None, given: Mapping[str, object]
) -> Outcome:
    """Measure the subject by what needs no labels, and where it can be by accuracy.

    Args:
        operator: the damage; None: clean images alone.
        teacher: what embeddings are compared with; None: the subject's own encoder.
        given: both, as the recipe has them.
    """
    encoder, images, options, where = subject.encoder, subject.images, subject.options, subject.feed["device"]
    require_works(operator, images, where)
    target = encoder
    if teacher is not None:
        target = pretrained(teacher, size=options["size"], seed=options["seed"])
        require_embeds(target, images, where)
    run = subject.open(target, **given)
    name, fit = subject.name, subject.fit
    measurement = Measurement(
        run, images, options, subject.feed, operator=operator, trained_on={name: subject.trained_on}
    )
    wanted = None if operator is None else repr(measurement.operator)
    if known := measured_outcome(run, encoder):
        return checked(known, subject.limits, "operator", wanted)
    models = {name: encoder}
    if subject.readout is not None:
        if has_labels(images) or subject.readout.spoken is not None:
            measurement.readout(subject.readout, models, fit=fit)
        fit = own_fit(encoder, images, classes_match=False)
    measurement.own_head(models, fit)
    measurement.embeddings(models, target)
    require_known(subject.limits, measurement.metrics, "this audit")
    return checked(measurement.finish(encoder=encoder), subject.limits, "operator", wanted)
