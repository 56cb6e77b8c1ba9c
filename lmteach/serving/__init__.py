"""A student at work: exported, loaded, served."""
