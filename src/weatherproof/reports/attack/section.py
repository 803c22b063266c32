"""What a page shows of attacks, from records and the files of run folders that are there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from weatherproof.reports.attack.certificates import Certificate, read_certificates
from weatherproof.reports.attack.curves import attack_curves
from weatherproof.reports.attack.images import ATTACKED, AttackFile
from weatherproof.reports.attack.panels import PANELS, panel_curves
from weatherproof.reports.attack.records import model_of
from weatherproof.reports.files import Run
from weatherproof.reports.group import Group
from weatherproof.reports.parts import read_list
from weatherproof.reports.tables import Heading, Table, make_tables
from weatherproof.reports.training.curves import Charts
from weatherproof.reports.verdict import Verdict
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import attack_words, family_words, named, size_words
from weatherproof.reports.words.records import JsonRecord

_FURTHER = ("rms_calibration_error", "median_perturbation", "attack_failures")


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
    images: tuple[AttackFile, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def warned(self) -> bool:
        return any(certificate.failed for certificate in self.certificates)


def attack_part(group: Group) -> AttackPart | None:
    """The part for one run, or for several that were measured alike; None where nothing was attacked. Without tables
    where a study has its own."""
    runs, records = group.runs, group.attacked
    if not records:
        return None
    several = len(runs) > 1
    certificates = tuple(own for run in runs for own in read_certificates(run.path, run.name if several else ""))
    columns = ("model", "readout", "run") if several else ("model", "readout")
    main = [r for r in records if r["metric"] == "top1"]
    further = [r for r in records if r["metric"] in _FURTHER]
    tables, further_tables = (
        [] if group.tabled or not own else make_tables(own, columns=columns) for own in (main, further)
    )
    return AttackPart(
        tables=tuple(_with_protocols(table, main, certificates) for table in tables),
        curves=_curves(runs, [r for r in records if r["metric"] == "error"]),
        further=tuple(map(_in_pixels, further_tables)),
        certificates=certificates,
        images=() if several else read_list(runs[0].path, ATTACKED),
        sentences=() if several else (*_medians(further), *_doubts(certificates)),
        notes=group.notes,
    )


def with_doubts(verdict: Verdict, shown: AttackPart) -> Verdict:
    """The verdict with what the attacks say beside it."""
    return replace(verdict, beside=(*verdict.beside, *shown.sentences))


def _curves(runs: Sequence[Run], records: Sequence[JsonRecord]) -> Charts:
    """One run may say which models share a chart."""
    panels = read_list(runs[0].path, PANELS) if len(runs) == 1 else ()
    return panel_curves(records, panels) if panels else attack_curves(records)


def _with_protocols(table: Table, records: Sequence[JsonRecord], certificates: Sequence[Certificate]) -> Table:
    """Every row says on how many images, with which protocol, and what its certificates say."""
    rows = []
    for row in table.rows:
        own = [
            r for r in records if words.condition_words(r) == row.parts[0] and str(r.get("data") or "") == table.data
        ]
        counts = sorted({int(r["images"]) for r in own if isinstance(r.get("images"), int)})
        draws = max((r.get("realizations") or 1 for r in own), default=1)
        facts = [f"{' to '.join(f'{n:,}' for n in counts[:: len(counts) - 1 or 1])} images"]
        facts += [f"{draws} draws"] if draws > 1 else []
        facts += [f"protocol {', '.join(dict.fromkeys(str(r.get('protocol')) for r in own))}"]
        lost = [c for c in certificates if c.failed and any(c.attack == r.get("attack") for r in own)]
        names = [(c.name + ": " if c.run else "") + c.summary for c in lost]
        marks = [Markup('<span class="failed">✗ certificate: {}</span>').format(text) for text in names]
        rows.append(Heading(row.key, (row.parts[0], " · ".join(facts), *marks), row.repeats, row.kind))
    return replace(table, rows=tuple(rows), caption=f"{words.metric_words(table.metric).words}, %")


def _in_pixels(table: Table) -> Table:
    if table.metric != "median_perturbation":
        return table
    return replace(table, caption=f"{words.metric_words(table.metric).words}, in pixel units")


def _medians(records: Sequence[JsonRecord]) -> list[str]:
    """A sentence each where one model was attacked; of several the table tells more."""
    if len({model_of(record) for record in records}) > 1:
        return []
    facts = []
    for record in records:
        if record["metric"] != "median_perturbation":
            continue
        text, value = str(record["attack"]), record.get("value")
        if words.finite(value):
            facts.append(
                f"Half of the images are misclassified by a perturbation of size {size_words(named(text).norm, value)} "
                f"({family_words(text)})."
            )
        else:
            facts.append(f"More than half of the images resist at all sizes tried ({family_words(text)}).")
    return facts


def _doubts(certificates: Sequence[Certificate]) -> list[str]:
    lost = [c for c in certificates if c.failed]
    if lost and len({c.model for c in certificates}) > 1:
        names = words.listed(list(dict.fromkeys(f"{attack_words(c.attack)} on {c.name}" for c in lost)))
        have = "has" if len(lost) == 1 else "have"
        return [
            f"{len(lost)} of {len(certificates)} certificates {have} doubts: {names}. Accuracy under these attacks may "
            "be too high, and error too low."
        ]
    return [
        f"The certificate of {attack_words(c.attack)} has doubts: {c.summary} "
        f"({words.listed([p.claim for p in c.failed])}). The number under this attack may be too high."
        for c in lost
    ]
