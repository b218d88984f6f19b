"""The own app of the tenants that `benchmarks.migrating` migrates."""
