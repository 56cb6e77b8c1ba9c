"""Built-in heads: from a classifier's fused vector to a score for each class."""
