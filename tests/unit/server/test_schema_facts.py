"""The query over the catalogs, of which each shard keeps a copy as a function."""

import hashlib

from mtdd_router.server.schema_facts import FINGERPRINTS_FUNCTION


def test_whoever_changes_the_query_makes_the_function_of_old_shards_anew() -> None:
    digest = hashlib.sha256(FINGERPRINTS_FUNCTION.encode()).hexdigest()
    # Shards that are there keep the old one: append {FINGERPRINTS_FUNCTION} as a script
    # in bootstrap.py, then write the new digest here.
    assert digest.startswith("a2e1bfb36489a246")
