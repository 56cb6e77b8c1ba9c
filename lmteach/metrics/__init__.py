"""Metrics of ranking, classification and agreement, with intervals."""
