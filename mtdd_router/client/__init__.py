"""The client side of the shard protocol: channels, sessions, administration."""
