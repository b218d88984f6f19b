"""An app whose tenants are migrated by three migrations, one of them with code."""
