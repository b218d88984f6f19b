"""The registry: which shards there are, and which tenant lives on which.

A Django app on the ``default`` database. Models hold rows and nothing else;
what changes a shard is done by ``tenants.services``, which the admin and the
commands call.
"""
