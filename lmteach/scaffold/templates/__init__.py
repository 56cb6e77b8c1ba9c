"""What `lmteach plugins new` copies: working code, in which `Mine` and `mine` become the new name."""
