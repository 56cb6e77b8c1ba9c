"""Built-in curricula, one file each."""
