"""The migrations as they were when the tenants were created."""
