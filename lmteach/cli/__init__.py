"""The command line: one file a verb; a verb is imported only when it runs."""
