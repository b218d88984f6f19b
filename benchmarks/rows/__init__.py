"""The table: what is compared with what, and how much of it is allowed."""

from collections.abc import Sequence

from benchmarks.candidates import BARE, OURS, Spec
from benchmarks.figures import Check, Result
from benchmarks.rows.held import Held
from benchmarks.rows.latency import Latency
from benchmarks.rows.load import Load
from benchmarks.rows.memory import Streaming
from benchmarks.rows.resolve import Resolve
from benchmarks.rows.row import Row, Side
from benchmarks.rows.start import Start
from benchmarks.sites import PLANES, QUICK, SITES

__all__ = ["ROWS", "Check", "Result", "Row"]

_MS = 0.001


def _beside(most: float | None, **given: object) -> list[Side]:
    """Return direct, what is shown beside it, and ours with its bar."""
    return [
        Side(Spec("direct", **given)),  # type: ignore[arg-type]
        Side(Spec("psycopg", **given)),  # type: ignore[arg-type]
        Side(Spec("direct", unix=True, note="unix socket")),
        Side(Spec("pgbouncer")),
        Side(Spec("empty hop")),
        Side(Spec(OURS, variant=BARE.name, **given)),  # type: ignore[arg-type]
        Side(Spec(OURS, **given), most),  # type: ignore[arg-type]
    ]


def _said(most: float, round_trip: float = 0.0) -> Side:
    """Return ours where the application says which write is the last of its transaction."""
    spec = Spec(OURS, round_trip=round_trip, note="last_write")
    return Side(spec, most, work="atomic, last_write")


def _far(most: float, round_trip: float) -> list[Side]:
    return [
        Side(Spec("direct", round_trip=round_trip)),
        Side(Spec("pgbouncer", round_trip=round_trip)),
        Side(Spec("empty hop", round_trip=round_trip)),
        Side(Spec(OURS, round_trip=round_trip, variant=BARE.name)),
        Side(Spec(OURS, round_trip=round_trip), most),
        _said(most, round_trip),
    ]


def _scattered(*, keeps: bool = False, variant: str = "") -> Spec:
    note = "all kept" if keeps else ""
    return Spec(OURS, "thousand", 0.5 * _MS, keeps=keeps, note=note, variant=variant)


def _pair(most: float | None, site: str = "one") -> list[Side]:
    return [Side(Spec("direct", site)), Side(Spec(OURS, site), most)]


def _growing(
    kind: str, most: float | None, *, keeps: bool = False, variant: str = ""
) -> list[Side]:
    kept = ", all kept" if keeps and not variant else ""
    return [
        Side(
            Spec(
                kind,
                name,
                keeps=keeps,
                note=f"{SITES[name].tenants:,} tenants{kept}",
                variant=variant,
            ),
            bar,
        )
        for name, bar in (("ten", None), ("thousand", most), ("ten thousand", most))
    ]


def _floors(*specs: Spec) -> list[Side]:
    """Return sides that only show what the others could reach, for which two minutes are short."""
    return [] if QUICK else [Side(spec) for spec in specs]


_DATABASES = SITES["databases"].tenants

ROWS: Sequence[Row] = (
    Latency("1", ".get(pk)", "get", sides=_beside(1.4)),
    Latency("2", "atomic: get + save", "atomic", sides=[*_beside(1.25), _said(1.25)]),
    Latency("3", "atomic: get + save, 0.5 ms away", "atomic", sides=_far(0.95, 0.5 * _MS)),
    Latency("3b", "atomic: get + save, 1 ms away", "atomic", sides=_far(0.88, 1.0 * _MS)),
    Latency(
        "4",
        f".get(pk) in a random one of {SITES['thousand'].tenants:,} tenants, 0.5 ms away",
        "get",
        "random",
        sides=[
            Side(Spec("django-tenants", "thousand", round_trip=0.5 * _MS)),
            *_floors(_scattered(variant=BARE.name), _scattered(keeps=True, variant=BARE.name)),
            Side(_scattered(), 0.8),
            Side(_scattered(keeps=True), 0.8),
        ],
    ),
    Load(
        "5",
        f".get(pk) in a random one of {_DATABASES:,} databases, 4 processes of 8 threads",
        "get",
        sides=[
            Side(Spec("direct", "databases", reconnects=True, processes=4, threads=8)),
            Side(Spec("direct", "databases", processes=4, note="persistent, 1 thread each")),
            Side(Spec(OURS, "databases", processes=4, threads=8), 0.25),
        ],
        note=f"32 threads with persistent connections need {32 * _DATABASES:,}; measured are "
        f"4 threads with {4 * _DATABASES:,}.",
    ),
    Latency("6", "list of 10,000 rows of 5 columns", "list", sides=_pair(1.4)),
    Latency("7", "bulk_create of 10,000 rows", "bulk_create", sides=_pair(1.15)),
    Streaming("8", f".iterator() over {PLANES.rows:,} rows", "iterate", sides=_pair(1.4, "rows")),
    Load(
        "9",
        "64 threads in 4 processes, reads and writes, 2 workers",
        "mixed",
        least_throughput=0.5,
        most_p99=2.0,
        sides=[
            Side(Spec("direct", "busy", processes=4, threads=16)),
            Side(Spec(OURS, "busy", processes=4, threads=16)),
        ],
    ),
    Held("10", "sessions on 20 backend connections, mostly idle", 500 if QUICK else 2000),
    Resolve(
        "11",
        "resolving a tenant's name among 1,000,000",
        50_000 if QUICK else 1_000_000,
        sides=[Side(Spec(OURS))],
    ),
    Latency(
        "12",
        ".get(pk) round robin, as tenants grow",
        "get",
        visits=300,
        sides=_growing(OURS, 1.15) + _growing(OURS, 1.15, keeps=True)[1:],
    ),
    Latency(
        "12b",
        "the same, straight psycopg with qualified names",
        "get",
        visits=300,
        sides=_growing("psycopg", None),
    ),
    Latency(
        "12c",
        "the same, ours with a bare server, all kept",
        "get",
        visits=300,
        sides=_growing(OURS, None, keeps=True, variant=BARE.name),
    ),
    Start("13", "process start: import and first query", 150.0, sides=_pair(None)),
)
