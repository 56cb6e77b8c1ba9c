"""What a run tells: progress, tables, manifest, loggers."""
