"""Built-in searchers, one file each."""
