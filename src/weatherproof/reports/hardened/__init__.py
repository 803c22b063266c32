"""The first part of the page of a hardening: what it has changed."""
