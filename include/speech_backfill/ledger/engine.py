"""Opening the ledger's database: SQLite in WAL mode with immediate transactions, or PostgreSQL; migrated to head on the way."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from speech_backfill.errors import LedgerUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 7_305_510_229
"""Any number that no other use of the database takes: guards migrations on PostgreSQL."""


def open_engine(url: str) -> sa.Engine:
    """Connect to *url* and bring its schema to head. Raises LedgerUnavailable."""
    shown = _without_password(url)
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite":
            engine = _sqlite(parsed)
        else:
            engine = sa.create_engine(parsed, pool_size=4, pool_pre_ping=True)
        migrate(engine)
    except (sa.exc.SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        raise LedgerUnavailable(shown, str(error).split("\n", 1)[0].replace(url, shown)[:300]) from error
    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to head. Cheap where it is there already; one process at a time where it is not."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if _revision(engine) == head:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _alone(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": 60, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _prepare(raw: Any, _record: Any) -> None:
        # The driver must not open transactions by itself: `begin` below does, at once with the write lock,
        # so that a check and the insert that follows it can't be parted.
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _revision(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("speech_backfill_version"):
            return None
        found = connection.execute(sa.text("SELECT version_num FROM speech_backfill_version")).scalar()
        return None if found is None else str(found)


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection while no other process migrates the same database."""
    if engine.dialect.name == "sqlite":
        if engine.url.database in {None, "", ":memory:"}:
            with engine.begin() as connection:
                yield connection
            return
        # Beside the database: whoever may write the one may write the other, which a shared temporary folder denies.
        database = Path(engine.url.database).resolve()
        with database.with_name(f"{database.name}.migrating").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.begin() as connection:
                yield connection
        return
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        yield connection


def locked(engine: sa.Engine, query: sa.Select[Any]) -> sa.Select[Any]:
    """*query* with row locks where the database has them; SQLite's transaction holds the only write lock already."""
    # As strong as an UPDATE that leaves keys alone: whoever only refers to the row (a new placement, say) needs not wait.
    return query if engine.dialect.name == "sqlite" else query.with_for_update(key_share=True)


def insert_into(engine: sa.Engine, table: sa.Table) -> Any:
    """INSERT that can say ON CONFLICT, in the engine's dialect."""
    if engine.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    return insert(table)


def _without_password(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return "the given URL"
