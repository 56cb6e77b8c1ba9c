"""Engines: where work on many parts is done, in this process or on the workers of a Ray cluster."""
