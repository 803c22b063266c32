"""The gauge: from the pixels of an image, how damaged it is, by what, and whether training saw such."""

from weatherproof.encoders.gauge.fit import fit_gauge
from weatherproof.encoders.gauge.gauge import Gauge, KindScale, Reading, Settings
from weatherproof.encoders.gauge.summary import Summary, gauge_summary

__all__ = ["Gauge", "KindScale", "Reading", "Settings", "Summary", "fit_gauge", "gauge_summary"]
