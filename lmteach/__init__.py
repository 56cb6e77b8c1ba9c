"""A large language model teaches a small one to tag or classify text."""

__version__ = "0.1.0"
