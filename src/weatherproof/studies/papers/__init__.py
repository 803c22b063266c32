"""The papers' tables and figures as data, with their published numbers and claims: a folder each."""
