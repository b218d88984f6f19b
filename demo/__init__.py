"""The demonstration project's apps; no part of the distribution."""
