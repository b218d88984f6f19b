"""What examining a statement costs: ``python -m benchmarks.guard [--statements 50000]``.

The statements are those that Django sends for a shop and for its admin, with values that
are new each time, so that nothing helps that remembers whole texts. Values are words that
people write, with quotes, semicolons and backslashes in some.
"""

import argparse
import random
import time
from collections.abc import Callable
from typing import Final

from psycopg.sql import Literal
from rich.console import Console
from rich.table import Table

from mtdd_router.server.statements import classify, look

_TEXT: Final = """
the template of this order was an attempt and we delivered the blue shirt size 42 on Monday
morning to her old address near the river where nobody was at home so please send it again
next week or tell us when you will be back because our shop cannot keep a parcel for long
it's \\new <b>sale</b> thanks
"""
_WORDS: Final = tuple(_TEXT.split())
# These make a second look necessary, at what is outside of constants.
_AWKWARD: Final = ("Anna;", "&nbsp;", "advisory", "temporary")
_USER: Final = (
    '"auth_user"."id", "auth_user"."password", "auth_user"."last_login", '
    '"auth_user"."is_superuser", "auth_user"."username", "auth_user"."first_name", '
    '"auth_user"."last_name", "auth_user"."email", "auth_user"."is_staff", '
    '"auth_user"."is_active", "auth_user"."date_joined"'
)
_PRODUCT: Final = (
    '"shop_product"."id", "shop_product"."name", "shop_product"."template_name", '
    '"shop_product"."price", "shop_product"."attempts", "shop_product"."description"'
)


class _Values:
    """Values that are new each time, as psycopg writes them into a statement."""

    def __init__(self) -> None:
        self._random = random.Random(1)

    def number(self) -> int:
        return self._random.randrange(10**9)

    def text(self, words: int = 4) -> str:
        return Literal(" ".join(self._random.choices(_WORDS, k=words))).as_string()

    def awkward(self, words: int = 4) -> str:
        chosen = self._random.choices((*_WORDS, *_AWKWARD), k=words)
        return Literal(" ".join([*chosen, self._random.choice(_AWKWARD)])).as_string()

    def time(self) -> str:
        return f"'2026-01-{self._random.randrange(10, 29)}T12:00:{self._random.random()}+00:00'"

    def numbers(self, count: int) -> str:
        return ", ".join(str(self.number()) for _ in range(count))


_KINDS: Final[dict[str, tuple[int, Callable[[_Values], str]]]] = {
    "get by key": (
        30,
        lambda v: f'SELECT {_USER} FROM "auth_user" WHERE "auth_user"."id" = {v.number()} LIMIT 21',
    ),
    "list with a join": (
        12,
        lambda v: (
            f'SELECT {_PRODUCT} FROM "shop_product" INNER JOIN "shop_category" ON '
            '("shop_product"."category_id" = "shop_category"."id") WHERE ("shop_category"."name" = '
            f'{v.text()} AND UPPER("shop_product"."name"::text) LIKE UPPER({v.text(1)})) '
            'ORDER BY "shop_product"."price" DESC LIMIT 25 OFFSET 50'
        ),
    ),
    "count": (
        6,
        lambda v: (
            'SELECT COUNT(*) AS "__count" FROM "shop_order" WHERE "shop_order"."made_at" >= '
            f"{v.time()}::timestamptz"
        ),
    ),
    "prefetch": (
        8,
        lambda v: (
            f'SELECT {_PRODUCT} FROM "shop_product" WHERE "shop_product"."id" IN ({v.numbers(50)})'
        ),
    ),
    "exists": (
        6,
        lambda v: (
            'SELECT 1 AS "a" FROM "django_session" WHERE "django_session"."session_key" = '
            f"{v.text(1)} LIMIT 1"
        ),
    ),
    "union": (
        1,
        lambda v: (
            f'(SELECT "a"."id" AS "col1" FROM "a" WHERE "a"."n" = {v.number()}) UNION '
            f'(SELECT "b"."id" AS "col1" FROM "b" WHERE "b"."t" = {v.text()})'
        ),
    ),
    "insert": (
        7,
        lambda v: (
            'INSERT INTO "shop_product" ("name", "template_name", "price", "description") '
            f"VALUES ({v.text()}, {v.text(1)}, {v.number()}, {v.text(60)}) "
            'RETURNING "shop_product"."id"'
        ),
    ),
    "insert, awkward": (
        2,
        lambda v: (
            'INSERT INTO "shop_product" ("name", "template_name", "price", "description") '
            f"VALUES ({v.text()}, {v.text(1)}, {v.number()}, {v.awkward(60)}) "
            'RETURNING "shop_product"."id"'
        ),
    ),
    "bulk insert of 100": (
        1,
        lambda v: (
            'INSERT INTO "shop_line" ("order_id", "name", "at") VALUES '
            + ", ".join(f"({v.number()}, {v.text()}, {v.time()})" for _ in range(100))
        ),
    ),
    "update": (
        9,
        lambda v: (
            f'UPDATE "shop_product" SET "name" = {v.text()}, "attempts" = '
            f'("shop_product"."attempts" + 1) WHERE "shop_product"."id" = {v.number()}'
        ),
    ),
    "update, awkward": (
        2,
        lambda v: (
            f'UPDATE "shop_product" SET "name" = {v.awkward()}, "attempts" = '
            f'("shop_product"."attempts" + 1) WHERE "shop_product"."id" = {v.number()}'
        ),
    ),
    "delete": (3, lambda v: f'DELETE FROM "shop_line" WHERE "shop_line"."id" IN ({v.numbers(3)})'),
    "savepoint": (5, lambda v: f'SAVEPOINT "s{v.number()}_x{v.number()}"'),
    "release": (5, lambda v: f'RELEASE SAVEPOINT "s{v.number()}_x{v.number()}"'),
    "lock": (
        2,
        lambda v: (
            f'SELECT {_USER} FROM "auth_user" WHERE "auth_user"."id" = {v.number()} '
            "LIMIT 21 FOR UPDATE"
        ),
    ),
    "cursor": (
        1,
        lambda v: (
            f'DECLARE "_django_curs_{v.number()}_sync_1" NO SCROLL CURSOR WITH HOLD FOR '
            f'SELECT {_PRODUCT} FROM "shop_product" WHERE "shop_product"."price" > {v.number()}'
        ),
    ),
    "begin and commit": (2, lambda _: "COMMIT"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--statements", type=int, default=50_000)
    count = parser.parse_args().statements
    values, chance = _Values(), random.Random(2)
    names = chance.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()], k=count)
    statements = [_KINDS[name][1](values).encode() for name in names]
    idle = min(_timed(len, statement) for statement in statements[:1000])
    took: dict[str, list[int]] = {name: [] for name in _KINDS}
    for name, statement in zip(names, statements, strict=True):
        took[name].append(max(_timed(classify, statement) - idle, 0))
    table = Table("statement", "share, %", "p50, µs", "p99, µs", "slowest, µs", "parsed, %")
    for name in [*_KINDS, ""]:
        times = sorted(took[name] if name else [one for each in took.values() for one in each])
        parsed = sum(
            look(statement) is None
            for kind, statement in zip(names, statements, strict=True)
            if kind == name or not name
        )
        table.add_row(
            name or "all",
            f"{100 * len(times) / count:.1f}",
            *(f"{times[int((len(times) - 1) * share)] / 1e3:.1f}" for share in (0.5, 0.99, 1)),
            f"{100 * parsed / len(times):.1f}",
        )
    Console().print(table)


def _timed(function: Callable[[bytes], object], statement: bytes) -> int:
    begun = time.perf_counter_ns()
    function(statement)
    return time.perf_counter_ns() - begun


if __name__ == "__main__":
    main()
