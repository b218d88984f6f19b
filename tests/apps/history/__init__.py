"""A tenant app whose migrations take back much of what they did before."""
