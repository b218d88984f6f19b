"""The client side of the shard protocol: calls, sessions, administration."""
