"""Nearest-label search: from a document's vector to its shortlist."""
