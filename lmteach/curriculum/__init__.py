"""A run's life: cycles of labelling and training."""
