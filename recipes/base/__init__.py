"""Parents that the shipped recipes extend."""
