"""Corpus formats: one file a format, and the one registry of them all."""
