"""Recipes: their schema, how they are read, and what is checked before a run."""
