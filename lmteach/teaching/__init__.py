"""Teachers: prompts, verdicts, the store that keeps them, and what they cost."""
