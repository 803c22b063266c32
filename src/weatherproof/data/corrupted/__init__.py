"""Test sets under the common corruptions, downloaded or written by `corrupt`."""
