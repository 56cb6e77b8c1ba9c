"""The sweeps that ship with lmteach: files for `wandb sweep` and `lmteach sweep`."""
