"""Scripts of new tenants without their detours: what is merged, and that nothing differs by it."""

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.core.management.sql import emit_post_migrate_signal

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.context import maintenance
from mtdd_router.types import Isolation, Placement, SchemaDetail, ScriptPart, TenantState
from tenants import services
from tenants.models import Tenant
from tenants.services.migrating import newcomers
from tenants.services.migrating.condensing import condensed
from tenants.services.migrating.survey import survey

AUTHOR = 'CREATE TABLE "author" ("id" bigint NOT NULL PRIMARY KEY, "name" varchar(20) NOT NULL)'
BOOK = (
    'CREATE TABLE "book" ("id" bigint NOT NULL PRIMARY KEY, "title" varchar(9) NOT NULL UNIQUE,'
    ' "author_id" bigint NULL, "pages" integer NOT NULL CHECK ("pages" >= 0))'
)
FOREIGN_KEY = (
    'CONSTRAINT "book_author" FOREIGN KEY ("author_id") REFERENCES "author" ("id")'
    " DEFERRABLE INITIALLY DEFERRED"
)
INLINE = (
    '"editor_id" bigint NULL CONSTRAINT "book_editor" REFERENCES "author"("id")'
    " DEFERRABLE INITIALLY DEFERRED"
)
INDEX = 'CREATE INDEX "book_pages" ON "book" ("pages")'
ROW = "INSERT INTO \"author\" VALUES (1, 'Ann')"


def book(old="", new="", more=""):
    return BOOK.replace(old, new)[:-1] + more + ")"


MERGED = {
    "a longer column": (
        [BOOK, 'ALTER TABLE "book" ALTER COLUMN "title" TYPE varchar(99)'],
        [book("varchar(9)", "varchar(99)")],
    ),
    "another type": (
        [BOOK, 'ALTER TABLE "book" ALTER COLUMN "author_id" TYPE text USING "author_id"::text'],
        [book('"author_id" bigint', '"author_id" text')],
    ),
    "null and not null": (
        [
            BOOK,
            'ALTER TABLE "book" ALTER COLUMN "title" DROP NOT NULL',
            'ALTER TABLE "book" ALTER COLUMN "author_id" SET NOT NULL',
        ],
        [
            book("varchar(9) NOT NULL", "varchar(9) NULL").replace(
                '"author_id" bigint NULL', '"author_id" bigint NOT NULL'
            )
        ],
    ),
    "an added column": (
        [
            BOOK,
            INDEX,
            """ALTER TABLE "book" ADD COLUMN "kind" varchar(9) DEFAULT 'a, (b''' NOT NULL""",
            'ALTER TABLE "book" ALTER COLUMN "kind" DROP DEFAULT',
        ],
        [book(more=', "kind" varchar(9) NOT NULL'), INDEX],
    ),
    "a default that stays": (
        [BOOK, 'ALTER TABLE "book" ADD COLUMN "kind" numeric(4, 1) DEFAULT 1.5 NOT NULL'],
        [book(more=', "kind" numeric(4, 1) DEFAULT 1.5 NOT NULL')],
    ),
    "a dropped column": (
        [AUTHOR, BOOK, INDEX, 'ALTER TABLE "book" DROP COLUMN "title" CASCADE'],
        [AUTHOR, book('"title" varchar(9) NOT NULL UNIQUE, '), INDEX],
    ),
    "several at once": (
        [
            BOOK,
            'ALTER TABLE "book" ALTER COLUMN "title" TYPE text, ALTER COLUMN "title" DROP NOT NULL',
        ],
        [book("varchar(9) NOT NULL", "text NULL")],
    ),
    "constraints": (
        [
            AUTHOR,
            BOOK,
            f'ALTER TABLE "book" ADD {FOREIGN_KEY}',
            'ALTER TABLE "book" ADD CONSTRAINT "one" UNIQUE ("title", "pages")',
            'ALTER TABLE "book" ADD CONSTRAINT "few" CHECK (("pages" < 9 AND "title" <> \')\'))',
        ],
        [
            AUTHOR,
            book(
                more=f', {FOREIGN_KEY}, CONSTRAINT "one" UNIQUE ("title", "pages"), '
                'CONSTRAINT "few" CHECK (("pages" < 9 AND "title" <> \')\'))'
            ),
        ],
    ),
    "a column that refers": (
        [
            AUTHOR,
            BOOK,
            f'ALTER TABLE "book" ADD COLUMN {INLINE}; SET CONSTRAINTS "book_editor" IMMEDIATE',
        ],
        [AUTHOR, book(more=f", {INLINE}"), 'SET CONSTRAINTS "book_editor" IMMEDIATE'],
    ),
    "past comments, with a table from before": (
        [
            AUTHOR,
            ROW,
            BOOK,
            "COMMENT ON COLUMN \"book\".\"title\" IS 'it''s'",
            f'ALTER TABLE "book" ADD {FOREIGN_KEY}',
        ],
        [
            AUTHOR,
            ROW,
            book(more=f", {FOREIGN_KEY}"),
            "COMMENT ON COLUMN \"book\".\"title\" IS 'it''s'",
        ],
    ),
}
KEPT = {
    "what meets rows": [AUTHOR, ROW, 'ALTER TABLE "author" ADD COLUMN "born" integer NULL'],
    "what meets rows behind an index": [
        AUTHOR,
        'CREATE INDEX "author_name" ON "author" ("name"); INSERT INTO "author" VALUES (1, (2))',
        'ALTER TABLE "author" ADD COLUMN "born" integer DEFAULT 7 NULL',
    ],
    "what follows something unknown": [
        BOOK,
        'ALTER TABLE "book" RENAME COLUMN "title" TO "name"',
        'ALTER TABLE "book" ADD COLUMN "title" text NULL',
    ],
    "a reference to a later table": [BOOK, AUTHOR, f'ALTER TABLE "book" ADD {FOREIGN_KEY}'],
    "the type of what a check looks at": [
        BOOK,
        'ALTER TABLE "book" ALTER COLUMN "pages" TYPE bigint',
    ],
    "the type of what has a default": [
        'CREATE TABLE "author" ("id" bigint NOT NULL, "born" integer DEFAULT 7 NOT NULL)',
        'ALTER TABLE "author" ALTER COLUMN "born" TYPE bigint',
    ],
    "the type of a key": [AUTHOR, 'ALTER TABLE "author" ALTER COLUMN "id" TYPE integer'],
    "a dropped column with an index": [
        BOOK,
        INDEX.replace('"pages")', '"pages", "title")'),
        'ALTER TABLE "book" DROP COLUMN "title" CASCADE',
    ],
    "a dropped column that a constraint names": [
        AUTHOR,
        BOOK[:-1] + f", {FOREIGN_KEY})",
        'ALTER TABLE "book" DROP COLUMN "author_id" CASCADE',
    ],
    "a default that may be anything": [
        AUTHOR,
        'ALTER TABLE "author" ADD COLUMN "at" timestamptz DEFAULT now() NOT NULL',
    ],
    "what may hide something": [
        AUTHOR,
        'ALTER TABLE "author" ADD COLUMN "born" integer NULL -- DROP TABLE "author"',
        'ALTER TABLE "author" ADD COLUMN "died" integer NULL',
    ],
    "half of a statement": [
        AUTHOR,
        'ALTER TABLE "author" ADD COLUMN "a" integer NULL, DROP CONSTRAINT "b"',
    ],
    "a table that is not ours": ['ALTER TABLE "author" ADD COLUMN "born" integer NULL'],
    "a partitioned table": [
        'CREATE TABLE "log" ("day" date NOT NULL) PARTITION BY RANGE ("day")',
        'ALTER TABLE "log" ADD COLUMN "line" text NULL',
    ],
}


@pytest.fixture
def schema_of(registered_shards):
    """Return the facts of the schema that statements lead to, on a real shard."""
    shard = registered_shards[0]
    admin = ShardAdmin(shard.address)

    def make(name, statements):
        placement = Placement(
            name, Isolation.SCHEMA, f"t_{name}", f"t_{name}", 1, TenantState.ACTIVE
        )
        assert admin.create_filled(placement, ScriptPart(tuple(statements)))
        return admin.inspect_schemas([name], SchemaDetail.FACTS)[name].facts

    return make


@pytest.mark.parametrize("case", MERGED)
def test_what_is_merged_leads_to_the_same_schema(schema_of, case):
    statements, expected = MERGED[case]
    assert list(condensed(ScriptPart(tuple(statements))).statements) == expected
    facts = schema_of("recorded", statements)
    assert facts
    assert schema_of("condensed", expected) == facts


@pytest.mark.parametrize("case", KEPT)
def test_what_is_not_sure_to_be_the_same_stays_as_it_is(case):
    part = ScriptPart(tuple(KEPT[case]), expected="x", fingerprint="y")
    assert condensed(part) == part


@pytest.fixture
def sent(monkeypatch):
    """The scripts that tenants were made by: how many statements, whether compared, and made."""
    scripts = []
    create = ShardAdmin.create_filled

    def note(self, placement, part, *, compared):
        filled = create(self, placement, part, compared=compared)
        scripts.append((len(part.statements), not compared, filled is not None))
        return filled

    monkeypatch.setattr(ShardAdmin, "create_filled", note)
    return scripts


def install(settings, app):
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, app]
    settings.TENANT_APPS = [*settings.TENANT_APPS, app]


def facts(*names):
    tenants = Tenant.objects.select_related("shard").filter(name__in=names)
    states = survey(tenants, SchemaDetail.FACTS).states.values()
    return [state.facts for state in states]


def recorded_length():
    (recipe, *_) = newcomers._known._recipes.values()
    return len(recipe.script.statements)


def test_the_first_tenant_by_a_script_is_compared_on_each_shard(settings, sent, tenant_factory):
    install(settings, "tests.apps.history")
    for name in ("a", "b", "c"):
        tenant_factory(name, shard="shard1")
    for name in ("d", "e"):
        tenant_factory(name, shard="shard2")
    shorter = {length for length, _, _ in sent}
    assert [made for _, *made in sent] == [[True, True], [False, True]] * 2
    assert len(shorter) == 1
    assert shorter.pop() < recorded_length()
    assert len({str(each) for each in facts(*"abcde")}) == 1


def test_a_script_makes_the_content_types_and_permissions_that_django_makes(
    settings, sent, tenant_factory
):
    install(settings, "tests.apps.history")
    for name in ("django", "script"):
        tenant_factory(name, shard="shard1")
    assert sent[-1][-1]
    by_django, by_script = map(permissions, ("django", "script"))
    assert ("history", "book", "add_book", "Can add book") in by_django
    assert by_script == by_django
    with maintenance():
        emit_post_migrate_signal(0, False, "script", apps=apps, plan=[])
    assert permissions("script") == by_django


def permissions(tenant):
    rows = Permission.objects.using(tenant).order_by("content_type__app_label", "codename")
    of = "content_type__"
    return list(rows.values_list(f"{of}app_label", f"{of}model", "codename", "name"))


def test_a_condensed_script_that_leads_elsewhere_is_not_used(
    settings, sent, tenant_factory, caplog
):
    install(settings, "tests.apps.clash")
    for name in ("a", "b", "c"):
        tenant_factory(name, shard="shard1")
    long = recorded_length()
    (first, *_), *others = sent
    assert first < long
    assert sent[0][1:] == (True, False)
    assert others == [(long, True, True), (long, False, True)]
    assert "not condensed" in caplog.text
    assert len({str(each) for each in facts(*"abc")}) == 1
    assert not any(report.findings for report in services.check_shards())
