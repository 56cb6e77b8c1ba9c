"""Built-in plugins, loaded through the same entry points as anyone else's; copy one to begin your own."""
