"""A tenant app whose migrations are of every kind: SQL, code, and outside of transactions."""
