"""Apps that only tests install."""
