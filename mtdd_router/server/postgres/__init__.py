"""A PostgreSQL connection for asyncio that forwards rows instead of decoding them.

libpq hands out cells one by one and would make the server decode and encode
every row; here the backend's messages pass through as they are.
"""
