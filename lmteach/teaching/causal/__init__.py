"""Scoring with causal language models: a document is read once for all its candidates."""
