"""The settings of the runnable project: base, local, test and production."""
