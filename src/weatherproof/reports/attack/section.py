"""What a page shows of attacks, from records and the files of run folders that are there."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from weatherproof.reports.attack.certificates import Certificate, read_certificates
from weatherproof.reports.attack.curves import attack_curves
from weatherproof.reports.attack.images import AttackImages, read_attack_images
from weatherproof.reports.attack.panels import panel_curves, read_panels
from weatherproof.reports.files import Run
from weatherproof.reports.tables import Heading, Table, make_tables
from weatherproof.reports.training.curves import Charts
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import attack_words, family_words, named, size_words
from weatherproof.reports.words.records import JsonRecord

_CLEAN = ("top1", "rms_calibration_error")  # what stands beside the same under attack
_FURTHER = ("rms_calibration_error", "median_perturbation", "attack_failures")
_OWN = ("model", "readout", "data", "label_fraction", "run")  # what tells one model's numbers from another's


@dataclass(frozen=True)
class AttackPart:
    """Tables, curves, certificates and pictures; what there is none of is empty.

    Attributes:
        tables: accuracy, with the protocol of every row.
        further: calibration, medians and failures.
        certificates: in the order of the attacks.
        images: of one run alone.
    """

    tables: tuple[Table, ...]
    curves: Charts
    further: tuple[Table, ...]
    certificates: tuple[Certificate, ...]
    images: tuple[AttackImages, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def warned(self) -> bool:
        return any(certificate.failed for certificate in self.certificates)


def split_attacks(records: Sequence[JsonRecord]) -> tuple[list[JsonRecord], list[JsonRecord]]:
    """The records under attack with the clean ones of the same models, and the rest.

    Clean records belong to both; where no other condition is left, they belong to the attacks alone.
    """
    attacked = [r for r in records if r.get("attack") and not r.get("operator") and not r.get("corruption")]
    if not attacked:
        return [], list(records)
    keys = {_identity(r) for r in attacked}
    clean = [r for r in records if words.is_clean(r) and r["metric"] in _CLEAN and _identity(r) in keys]
    taken = {id(r) for r in (*attacked, *clean)}
    rest = [r for r in records if id(r) not in {id(r) for r in attacked}]
    if all(words.is_clean(r) for r in rest):
        rest = [r for r in rest if id(r) not in taken]
    return [*clean, *attacked], rest


def attack_part(runs: Sequence[Run], notes: Sequence[str] = ()) -> AttackPart | None:
    """The part for one run, or for several that were measured alike; None where nothing was attacked."""
    records, _ = split_attacks([record for run in runs for record in run.records])
    if not records:
        return None
    certificates = tuple(
        own for run in runs for own in read_certificates(run.path, run.name if len(runs) > 1 else "")
    )  # fmt: skip
    columns = ("model", "readout", "run") if len(runs) > 1 else ("model", "readout")
    main = [r for r in records if r["metric"] == "top1"]
    further = [r for r in records if r["metric"] in _FURTHER]
    return AttackPart(
        tables=tuple(_with_protocols(t, main, certificates) for t in make_tables(main, columns=columns))
        if main
        else (),
        curves=_curves(runs, [r for r in records if r["metric"] == "error"]),
        further=tuple(map(_in_pixels, make_tables(further, columns=columns))) if further else (),
        certificates=certificates,
        images=read_attack_images(runs[0].path) if len(runs) == 1 else (),
        sentences=(*_medians(further), *_doubts(certificates)) if len(runs) == 1 else (),
        notes=tuple(notes),
    )


def _curves(runs: Sequence[Run], records: Sequence[JsonRecord]) -> Charts:
    """One run may say which models share a chart."""
    panels = read_panels(runs[0].path) if len(runs) == 1 else ()
    return panel_curves(records, panels) if panels else attack_curves(records)


def _identity(record: JsonRecord) -> tuple[Hashable, ...]:
    return tuple(record.get(name) for name in _OWN)


def _with_protocols(table: Table, records: Sequence[JsonRecord], certificates: Sequence[Certificate]) -> Table:
    """Every row says on how many images, with which protocol, and what its certificates say."""
    rows = []
    for row in table.rows:
        own = [
            r for r in records if words.condition_words(r) == row.parts[0] and str(r.get("data") or "") == table.data
        ]
        counts = sorted({int(r["images"]) for r in own if isinstance(r.get("images"), int)})
        draws = max((r.get("realizations") or 1 for r in own), default=1)
        said = [f"{' to '.join(f'{n:,}' for n in counts[:: len(counts) - 1 or 1])} images"]
        said += [f"{draws} draws"] if draws > 1 else []
        said += [f"protocol {', '.join(dict.fromkeys(str(r.get('protocol')) for r in own))}"]
        lost = [c for c in certificates if c.failed and any(c.attack == r.get("attack") for r in own)]
        told = [(c.name + ": " if c.run else "") + c.summary for c in lost]
        marks = [Markup('<span class="failed">✗ certificate: {}</span>').format(text) for text in told]
        rows.append(Heading(row.key, (row.parts[0], " · ".join(said), *marks), row.repeats, row.kind))
    return replace(table, rows=tuple(rows), caption=f"{words.metric_words(table.metric).words}, %")


def _in_pixels(table: Table) -> Table:
    if table.metric != "median_perturbation":
        return table
    return replace(table, caption=f"{words.metric_words(table.metric).words}, in pixel units")


def _medians(records: Sequence[JsonRecord]) -> list[str]:
    """A sentence each where one model was attacked; of several the table tells more."""
    if len({_identity(record) for record in records}) > 1:
        return []
    said = []
    for record in records:
        if record["metric"] != "median_perturbation":
            continue
        text, value = str(record["attack"]), record.get("value")
        if words.finite(value):
            said.append(
                f"Half of the images are misclassified by a perturbation of size {size_words(named(text).norm, value)} "
                f"({family_words(text)})."
            )
        else:
            said.append(f"More than half of the images resist at all sizes tried ({family_words(text)}).")
    return said


def _doubts(certificates: Sequence[Certificate]) -> list[str]:
    lost = [c for c in certificates if c.failed]
    if lost and len({c.model for c in certificates}) > 1:
        told = words.listed(list(dict.fromkeys(f"{attack_words(c.attack)} on {c.name}" for c in lost)))
        have = "has" if len(lost) == 1 else "have"
        return [
            f"{len(lost)} of {len(certificates)} certificates {have} doubts: {told}. Accuracy under these attacks may "
            "be too high, and error too low."
        ]
    return [
        f"The certificate of {attack_words(c.attack)} has doubts: {c.summary} "
        f"({words.listed([p.claim for p in c.failed])}). The number under this attack may be too high."
        for c in lost
    ]
