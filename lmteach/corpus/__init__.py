"""Documents, label sets and gold: readers, known sets, splits."""
