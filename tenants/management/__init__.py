"""Management commands of the registry, and what they share."""
