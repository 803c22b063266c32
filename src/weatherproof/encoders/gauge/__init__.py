"""The gauge: from the pixels of an image, how damaged it is, by what, and whether training saw such."""

from weatherproof.encoders.gauge.fit import fit_gauge
from weatherproof.encoders.gauge.gauge import Gauge, Reading, Settings, Told
from weatherproof.encoders.gauge.summary import Summary, gauge_summary

__all__ = ["Gauge", "Reading", "Settings", "Summary", "Told", "fit_gauge", "gauge_summary"]
