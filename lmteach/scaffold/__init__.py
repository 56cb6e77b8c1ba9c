"""Plugin packages written from templates."""
