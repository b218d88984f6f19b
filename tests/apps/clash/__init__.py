"""A tenant app whose constraints get other names where columns are made in another order."""
