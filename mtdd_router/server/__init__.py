"""The shard server: a program of its own in front of one PostgreSQL. It imports no Django."""
