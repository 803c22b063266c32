"""What the doctor has found. No PyTorch here: it may be what is broken."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from weatherproof.errors import InputError, one_line
from weatherproof.names import printable

State = Literal["ok", "absent", "problem", "broken"]
FILE = "doctor.json"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        found: what it is here.
        state: ok; absent: not there, and nothing needs it; problem: it works, and not as it could; broken: something
            essential does not work.
        advice: what to do; empty where nothing is to be done.
    """

    what: str
    found: str
    state: State = "ok"
    advice: str = ""


@dataclass(frozen=True)
class Section:
    """Findings that belong together."""

    title: str
    findings: Sequence[Finding]


@dataclass
class Diagnosis:
    """The result of `doctor`.

    Attributes:
        kind: "installation", "data", "distributed" or "plan".
        sections: what was found, in words.
        measured: the same as numbers, for programs and for `--measured`.
        file: where it was written; None: nowhere.
        quiet: print nothing: another process of the same job does.
    """

    kind: str
    sections: Sequence[Section]
    measured: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    quiet: bool = False

    @property
    def findings(self) -> list[Finding]:
        """Those of all sections."""
        return [finding for section in self.sections for finding in section.findings]

    @property
    def status(self) -> int:
        """The exit status: 1 where something essential is broken."""
        return int(any(finding.state == "broken" for finding in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints, and what stands in doctor.json."""
        return {
            "kind": self.kind,
            "status": self.status,
            "sections": {section.title: [asdict(f) for f in section.findings] for section in self.sections},
            "measured": _finite(self.measured),
        }

    def write(self, folder: Path) -> None:
        """Write doctor.json into a folder."""
        from weatherproof.files import write_atomically

        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        self.file = write_atomically(folder / FILE, text)

    def show(self) -> None:
        """Print what was found, and what to do."""
        if self.quiet:
            return
        for section in self.sections:
            width = max((len(finding.what) for finding in section.findings), default=0)
            print(f"\n{section.title}" if section is not self.sections[0] else section.title)
            for finding in section.findings:
                mark = {"ok": " ", "absent": "-", "problem": "!", "broken": "X"}[finding.state]
                print(f" {mark} {finding.what:<{width}}  {one_line(finding.found)}")
        wrong = [f for f in self.findings if f.state in ("problem", "broken")]
        if wrong:
            print("\nWhat to do")
        for finding in wrong:
            word = "broken" if finding.state == "broken" else "problem"
            print(f"{word:<9}{finding.what}: {one_line(finding.advice or finding.found)}")
        if not wrong and self.kind == "installation":
            print("\nnothing wrong was found")
        if self.file is not None:
            print(f"file     {printable(str(self.file))}")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def bytes_words(count: float) -> str:
    """Bytes as a person says them: "3.4 GB"."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, int(math.log10(max(count, 1)) // 3))
    left = count / 1000**power
    return f"{left:.3g} {units[power]}" if power and left < 100 else f"{left:,.0f} {units[power]}"


_MOST = {"seconds": 600, "processes": 64, "workers": 4096, "utilisation": 1}


def require(**settings: float | None) -> None:
    """Raise `InputError` for a setting that is not above 0 (workers: below 0), or beyond what makes sense."""
    for name, value in settings.items():
        if value is None:
            continue
        low, most = name == "workers", _MOST.get(name, 1e18)
        if not (value > 0 or (low and value == 0)) or not value <= most:
            at_least = "0 or more" if low else "above 0"
            end = f", at most {most:g}" if name in _MOST else ""
            raise InputError(f"{name} is a number {at_least}{end}; got {value}")
