"""The locks that a plan shows."""

import pytest

from tenants.services.migrating.locks import locks_of


@pytest.mark.parametrize(
    ("statement", "taken"),
    [
        ('ALTER TABLE "a_b" ADD COLUMN "c" integer NOT NULL', ("a_b", "ACCESS EXCLUSIVE")),
        ('ALTER TABLE "a" VALIDATE CONSTRAINT "x"', ("a", "SHARE UPDATE EXCLUSIVE")),
        (
            'ALTER TABLE "a" ADD CONSTRAINT "x" FOREIGN KEY ("b") REFERENCES "c" ("id")',
            ("a", "SHARE ROW EXCLUSIVE"),
        ),
        ('CREATE INDEX "x" ON "a" ("b")', ("a", "SHARE")),
        ('CREATE UNIQUE INDEX CONCURRENTLY "x" ON "a" ("b")', ("a", "SHARE UPDATE EXCLUSIVE")),
        ('DROP INDEX CONCURRENTLY IF EXISTS "x"', ("x", "SHARE UPDATE EXCLUSIVE")),
        ('DROP INDEX IF EXISTS "x"', ("x", "ACCESS EXCLUSIVE")),
        ('DROP TABLE "a" CASCADE', ("a", "ACCESS EXCLUSIVE")),
        ("UPDATE a SET b = 1", ("a", "ROW EXCLUSIVE")),
        ('CREATE TABLE "a" ("id" bigint)', None),
        ("-- a comment", None),
    ],
)
def test_a_statement_takes_the_lock_that_postgresql_documents(statement, taken):
    assert locks_of(statement) == taken
