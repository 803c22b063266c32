"""Numbers -> tables, plots and one self-contained HTML page. Reads a run folder's files and nothing else."""

from weatherproof.reports.attack.certificates import save_certificates
from weatherproof.reports.attack.images import AttackExamples, save_attack_images
from weatherproof.reports.gallery.section import GalleryEntry, save_gallery
from weatherproof.reports.neighbours.section import save_neighbours
from weatherproof.reports.page import write_comparison, write_report
from weatherproof.reports.plane.section import save_map
from weatherproof.reports.reliability.section import Diagram, save_reliability
from weatherproof.reports.strip.section import save_strip
from weatherproof.reports.suite.text import console_table, markdown_table
from weatherproof.reports.utility.curve import save_utility_curve
from weatherproof.reports.utility.images import save_utility_images
from weatherproof.reports.utility.maps import save_utility_maps
from weatherproof.reports.views.section import FamilyLooks, save_views

__all__ = [
    "AttackExamples",
    "Diagram",
    "FamilyLooks",
    "GalleryEntry",
    "console_table",
    "markdown_table",
    "save_attack_images",
    "save_certificates",
    "save_gallery",
    "save_map",
    "save_neighbours",
    "save_reliability",
    "save_strip",
    "save_utility_curve",
    "save_utility_images",
    "save_utility_maps",
    "save_views",
    "write_comparison",
    "write_report",
]
