"""The Django database backend: Django's own for PostgreSQL, differences only."""
