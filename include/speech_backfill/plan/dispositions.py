"""What a plan does about every line of its source and every file published before. One join at a time, on narrow keys.

Tens of millions of lines are decided here in DuckDB's bounded memory. It spills a hash table, but not several that one
statement needs at once, and pays for every column that travels along. So lines and outcomes are first cut down to
digests and flags, each step makes a table of its own, and the wide rows are met again only in `frozen.py`, in order.
"""

from __future__ import annotations

from secrets import token_hex

import duckdb

from speech_backfill.relations import one_row

SUBMIT = "submit"
CARRIED = "carried"
ELSEWHERE = "elsewhere"
REFUSED = "refused"

KEY = "md5_number({})"
"""A file id as a number of 16 bytes: half of what its text takes, and never on the heap."""

_URL = "md5_number($salt || audio_url)"
"""The same of a URL, a quarter of its text. Texts of one MD5 can be made by whoever chooses them, and blob names are chosen
by others: one would pass for a repeat of the other and vanish. They can't be made for a salt that nobody knows beforehand."""

_DISPOSITION = f"ENUM ('{SUBMIT}', '{CARRIED}', '{ELSEWHERE}', '{REFUSED}')"

_LINES = f"""
CREATE TABLE line_keys AS
SELECT line, {KEY.format("file_id")} AS file, {_URL} AS url, error_code IS NOT NULL AS refused,
       coalesce(error_code IN ('InvalidUri', 'InvalidLine', 'InvalidOption'), false) AS nameless
FROM lines
"""  # noqa: S608  our own columns

_PRIOR = f"""
CREATE TABLE prior_keys AS
SELECT {KEY.format("file_id")} AS file, {_URL} AS url, outcome = 'transcribed' AS transcribed, can_retry,
       chunk_id IS NULL OR chunk_id NOT IN (SELECT chunk_id FROM own) AS unpaid
FROM prior
"""  # noqa: S608  our own columns

# What makes two lines the same: their URL. Lines that name no file are each their own. URLs that repeat are found first:
# they are few, so that hardly anything is left to join with.
_REPEATED = (
    "CREATE TABLE repeated AS SELECT url FROM line_keys WHERE NOT nameless GROUP BY url HAVING count(*) > 1",
    """CREATE TABLE first_lines AS
       SELECT min(line) AS line FROM line_keys SEMI JOIN repeated USING (url) WHERE NOT nameless GROUP BY url""",
    """CREATE TABLE repeats AS
       SELECT line FROM line_keys SEMI JOIN repeated USING (url) WHERE NOT nameless""",
    "CREATE TABLE left_out AS SELECT line FROM repeats ANTI JOIN first_lines USING (line)",
    "DROP TABLE repeated",
    "DROP TABLE first_lines",
    "DROP TABLE repeats",
)

# A line refused today (its audio is gone, say) must not take away what was transcribed and paid for before.
_PAID = (
    "CREATE TABLE refused AS SELECT line, url FROM line_keys WHERE refused",
    """CREATE TABLE paid AS
       SELECT line FROM refused SEMI JOIN (SELECT url FROM prior_keys WHERE transcribed) USING (url)""",
    "INSERT INTO left_out SELECT line FROM paid ANTI JOIN left_out USING (line)",
    "DROP TABLE refused",
    "DROP TABLE paid",
)

_WITHOUT_LEFT_OUT = (
    "CREATE TABLE kept AS SELECT * FROM line_keys ANTI JOIN left_out USING (line)",
    "DROP TABLE line_keys",
    "ALTER TABLE kept RENAME TO line_keys",
)

# A row for every line and every file known before, which are one where they are the same file.
_PAIRED = (
    """CREATE TABLE paired AS
       SELECT l.line, coalesce(l.file, p.file) AS file, coalesce(l.url, p.url) AS url, l.refused, p.transcribed, p.can_retry,
              p.unpaid
       FROM line_keys l FULL JOIN prior_keys p ON p.file = l.file""",
    "DROP TABLE line_keys",
    "DROP TABLE prior_keys",
)

_DECIDE = f"""
CREATE TABLE unordered AS
SELECT
    p.line,
    CASE
        WHEN p.refused THEN 'refused'
        WHEN $reprocess AND coalesce(p.unpaid, true) THEN 'submit'
        WHEN p.transcribed IS NOT NULL AND NOT p.can_retry THEN 'carried'
        WHEN e.file IS NOT NULL THEN 'elsewhere'
        ELSE 'submit'
    END::{_DISPOSITION} AS disposition,
    e.transcribed_in
FROM paired p LEFT JOIN elsewhere e USING (file)
WHERE p.line IS NOT NULL
"""  # noqa: S608  our own words

# Transcribed before and no longer in the source: paid for, so kept. A line that failed cost nothing, and whoever has
# mended it in the source does not want to see it fail for ever. Equal files have equal URLs, so only what found no line
# of its own is looked for by URL.
_GONE = (
    "CREATE TABLE unmatched AS SELECT file, url FROM paired WHERE line IS NULL AND transcribed",
    """CREATE TABLE gone AS
       SELECT file FROM unmatched ANTI JOIN (SELECT url FROM paired WHERE line IS NOT NULL) USING (url)""",
    "DROP TABLE unmatched",
    "DROP TABLE paired",
)

_ORDERED = (
    # Kept in the order of the lines, so that those of a few lines are found without reading all.
    "CREATE TABLE decisions AS SELECT * FROM unordered ORDER BY line",
    "DROP TABLE unordered",
)

_FROM_PRIOR = """
CREATE VIEW from_prior AS
SELECT
    line, residency, disposition::VARCHAR AS disposition, file_id, audio_url, audio_etag AS etag, size_bytes,
    epoch(last_modified) AS modified_at, {duration_ms} AS duration_ms, options_id, transcribed_in, error_code, error_message,
    manifest_columns
FROM prior JOIN taken ON line = manifest_position {join}
"""
"""Where it stood in the manifest before is where all of a row is found again, a few at a time: sorted whole, rows take whatever
memory the source's own columns ask for."""

_GONE_FROM_PRIOR = _FROM_PRIOR.format(duration_ms="duration_ms", join="")

# Joined by position, so that of this too a few rows are read at a time.
_FAILED_FROM_PRIOR = _FROM_PRIOR.format(
    duration_ms="coalesce(duration_ms, planned_ms)",
    join="LEFT JOIN planned AS p (position, planned_id, planned_ms) ON position = manifest_position AND planned_id = file_id",
)

_GONE_ROWS = f"""
CREATE TABLE taken AS
SELECT manifest_position AS line, '' AS residency, '{CARRIED}'::{_DISPOSITION} AS disposition
FROM prior SEMI JOIN gone ON gone.file = {KEY.format("file_id")} ORDER BY line
"""  # noqa: S608  our own columns

_ONLY_FAILED = f"""
CREATE TABLE taken AS
SELECT
    manifest_position AS line, coalesce(nullif(r.residency, ''), $residency) AS residency,
    CASE
        WHEN outcome = 'transcribed' THEN 'carried'
        WHEN options_id IS NULL OR options_id = '' THEN 'carried'  -- refused before it had options: can't be submitted
        WHEN can_retry THEN 'submit'
        WHEN $reprocess AND (chunk_id IS NULL OR chunk_id NOT IN (SELECT chunk_id FROM own)) THEN 'submit'
        ELSE 'carried'
    END::{_DISPOSITION} AS disposition
FROM prior LEFT JOIN residencies r USING (chunk_id) ORDER BY line
"""  # noqa: S608  our own words


def decide(connection: duckdb.DuckDBPyConnection, *, reprocess: bool) -> int:
    """Decide about `lines`, from `prior`, `own` and `elsewhere` (file, transcribed_in); returns how many lines repeat a URL.

    Makes the table `decisions` (line, disposition, transcribed_in) in the order of the lines, without those that repeat
    a URL, and the view `from_prior`, the rows of files that are no longer in the source, each with its line then.
    """
    salt = {"salt": token_hex(16)}
    for statement in (_LINES, _PRIOR):
        connection.execute(statement, salt)
    for statement in _REPEATED:
        connection.execute(statement)
    repeats = _count(connection, "left_out")
    for statement in _PAID:
        connection.execute(statement)
    if _count(connection, "left_out"):
        for statement in _WITHOUT_LEFT_OUT:
            connection.execute(statement)
    for statement in ("DROP TABLE left_out", *_PAIRED):
        connection.execute(statement)
    connection.execute(_DECIDE, {"reprocess": reprocess})
    for statement in (*_GONE, *_ORDERED, _GONE_ROWS, _GONE_FROM_PRIOR):
        connection.execute(statement)
    return repeats


def decide_only_failed(
    connection: duckdb.DuckDBPyConnection, *, reprocess: bool, residency: str = ""
) -> None:
    """Make the view `from_prior` from `prior`, `own` and `residencies` (chunk_id, residency): submit what is failed or missing.

    A duration that an outcome does not have is taken from `planned` (position, file_id, duration_ms), in which a file stands
    where it stands in `prior`. Files whose chunk was free to go anywhere, or is not among them, get *residency*. No line is
    decided about: the table `decisions` is empty.
    """
    connection.execute(
        f"CREATE TABLE decisions (line BIGINT, disposition {_DISPOSITION}, transcribed_in VARCHAR)"
    )
    connection.execute(_ONLY_FAILED, {"reprocess": reprocess, "residency": residency})
    connection.execute(_FAILED_FROM_PRIOR)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    (rows,) = one_row(connection, f"SELECT count(*) FROM {table}")  # noqa: S608  our own name
    return int(rows)
