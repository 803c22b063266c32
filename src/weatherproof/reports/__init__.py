"""Numbers -> tables, plots and one self-contained HTML page. Reads a run folder's files and nothing else."""

from weatherproof.reports.gallery import GalleryEntry, save_gallery
from weatherproof.reports.page import write_comparison, write_report
from weatherproof.reports.strip import save_strip
from weatherproof.reports.text_tables import console_table, markdown_table

__all__ = [
    "GalleryEntry",
    "console_table",
    "markdown_table",
    "save_gallery",
    "save_strip",
    "write_comparison",
    "write_report",
]
