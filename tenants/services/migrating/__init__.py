"""Migrating tenants at the cost of their distinct schema states, not of their number.

`recording` lets Django migrate one tenant and notes the SQL, `recipes` is what was noted,
`batches` applies it to others, `runs` decides who gets what, `ledger` remembers.
"""
