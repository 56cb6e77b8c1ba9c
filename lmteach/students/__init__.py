"""Students: what is trained, on which loss, and how it is saved."""
