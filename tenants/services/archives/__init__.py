"""Taking a tenant's contents out and in, with PostgreSQL's own pg_dump and pg_restore.

They run on this machine, and speak on the tenant's own connection, over gRPC.
"""
