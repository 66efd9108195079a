"""How much audio a plan submits: known durations, headers that are read, and for the rest an estimate with its error.

Where few durations are unknown all their headers are read. Of more a sample is drawn from each format and its rate, the
seconds of audio in a byte, is taken for the whole (a ratio estimator, which is right for the large files that weigh
most). The sample is drawn by file id: ids are digests of what identifies a file, so they are as good as chance, and the
same content gives the same sample. Neither ids nor dispositions depend on what was read, so a plan's id does not either.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, sqrt

import duckdb

from speech_backfill.durations import FORMAT_PATTERN, GUESSED_FORMATS, guessed_seconds_per_byte
from speech_backfill.relations import one_row
from speech_backfill.settings import Settings

ReadDurations = Callable[[Sequence[str]], Mapping[str, int]]
"""(URLs) → the duration in milliseconds of those that could be read."""

_FORMATS = 16
"""Formats that are sampled, those with the most bytes; suffixes are whatever people write."""

_MOST_FORMATS = 200
"""Formats that are told apart at all, beside those with a guess of their own, so that a listing of a million suffixes takes no
more memory."""

_REST = "*"
"""All others: no suffix that looks like a format is called so. They have no rate in common, so they are read or guessed."""

_LEAST_DRAWN = 10
_LEAST_READ = 5
"""Of so few files a format's rate, and even more its error, would be a guess as well."""

_OF_FORMAT = f"lower(regexp_extract(audio_url, '{FORMAT_PATTERN}', 1))"
_UNKNOWN = "disposition = 'submit' AND coalesce(duration_ms, 0) <= 0"
"""A manifest that says 0 does not know either."""


@dataclass(frozen=True, slots=True)
class Format:
    """The files of one suffix whose durations are unknown."""

    name: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DrawnFile:
    """A file of the sample."""

    file_id: str
    url: str
    format: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Rate:
    """The seconds of audio in a byte of a format, from those of its files that were read."""

    seconds_per_byte: float
    standard_error_seconds: float
    """Of the audio in all the format's files."""
    freedom: int
    """Degrees of freedom of the standard error."""

    @property
    def error_seconds(self) -> float:
        """Half the width of the interval that holds the truth in 95 of 100 cases."""
        return _t95(self.freedom) * self.standard_error_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioEstimate:
    """The audio of the files to submit. Their number is known + read + sampled + guessed."""

    hours: float = 0.0
    error_hours: float = 0.0
    """Half the width of the 95 % interval; sampling's error only, so nothing of what is guessed."""
    guessed_hours: float = 0.0
    """Of the hours: from sizes at fixed rates, on the long side."""
    known: int = 0
    """Files whose duration stood in the manifest."""
    asked: int = 0
    """Files whose header was to be read."""
    read: int = 0
    sampled: int = 0
    """Files estimated at the rate of their format's sample."""
    guessed: int = 0
    seconds_per_byte: Mapping[str, float] = field(default_factory=dict)
    """By format, what to reserve for files that were not read: the rate plus two standard errors, or the rate that nineteen of
    twenty files of the sample keep to if that is more. A budget goes through chunks in the manifest's order, and a year or a
    customer whose recordings hold more audio in a byte than others' may come first."""
    durations: Mapping[str, int] = field(default_factory=dict)
    """By file id, in milliseconds: those that were read."""


def estimate_audio(
    connection: duckdb.DuckDBPyConnection, read: ReadDurations, settings: Settings
) -> AudioEstimate:
    """Estimate the audio to submit of the relation `manifest`, which stays as it is. Durations that it says are not read."""
    known, known_ms = one_row(
        connection,
        f"""SELECT count(*), coalesce(sum(duration_ms), 0)::BIGINT FROM manifest
            WHERE disposition = 'submit' AND NOT ({_UNKNOWN})""",  # noqa: S608  our own words
    )
    formats = _formats(connection)
    drawn = _drawn(connection, formats, settings.probe_files)
    durations = read([one.url for one in drawn]) if drawn else {}
    return combine(
        formats, drawn, durations, known=int(known), known_hours=known_ms / 3_600_000, settings=settings
    )


def _formats(connection: duckdb.DuckDBPyConnection) -> list[Format]:
    """The formats with unknown durations, that with the most bytes first; those beyond `_MOST_FORMATS` as one."""
    rows = connection.execute(
        f"""WITH counted AS (
                SELECT {_OF_FORMAT} AS format, count(*) AS files, coalesce(sum(size_bytes), 0)::BIGINT AS bytes
                FROM manifest WHERE {_UNKNOWN} GROUP BY 1
            ), placed AS (SELECT *, row_number() OVER (ORDER BY bytes DESC, format) AS place FROM counted)
            SELECT CASE WHEN place <= $most OR list_contains($guessed, format) THEN format ELSE $rest END AS name,
                   sum(files)::BIGINT, sum(bytes)::BIGINT
            FROM placed GROUP BY 1 ORDER BY min(place)""",  # noqa: S608  our own words
        {"most": _MOST_FORMATS, "guessed": list(GUESSED_FORMATS), "rest": _REST},
    ).fetchall()
    return [Format(*row) for row in rows]


def _drawn(connection: duckdb.DuckDBPyConnection, formats: Sequence[Format], most: int) -> list[DrawnFile]:
    counts = shares(formats, most)
    if not counts:
        return []
    if sum(counts.values()) == sum(one.files for one in formats):
        return _all(connection, counts)
    # One pass that holds no more than the sample.
    rows = connection.execute(
        f"""SELECT format, min_by({{id: file_id, url: audio_url, bytes: coalesce(size_bytes, 0)}}, file_id, $most)
            FROM (SELECT *, {_OF_FORMAT} AS format FROM manifest WHERE {_UNKNOWN})
            WHERE list_contains($formats, format) GROUP BY format ORDER BY format""",  # noqa: S608  our own words
        {"most": max(counts.values()), "formats": list(counts)},
    ).fetchall()
    return [
        DrawnFile(one["id"], one["url"], name, one["bytes"])
        for name, found in rows
        for one in found[: counts[name]]
    ]


def _all(connection: duckdb.DuckDBPyConnection, names: Container[str]) -> list[DrawnFile]:
    """Every file of unknown duration; the formats that are not told apart by *names* are the rest."""
    rows = connection.execute(
        f"""SELECT file_id, audio_url, {_OF_FORMAT} AS format, coalesce(size_bytes, 0)
            FROM manifest WHERE {_UNKNOWN} ORDER BY format, file_id"""  # noqa: S608  our own words
    ).fetchall()
    return [
        DrawnFile(file_id, url, name if name in names else _REST, size) for file_id, url, name, size in rows
    ]


def shares(formats: Sequence[Format], most: int) -> dict[str, int]:
    """How many files to draw of each format, *most* together: all if they suffice, else a few of each and the rest by bytes."""
    if sum(one.files for one in formats) <= most:
        return {one.name: one.files for one in formats}
    chosen = formats[:_FORMATS]
    least = min(_LEAST_DRAWN, most // len(chosen))
    counts = {one.name: min(one.files, least) for one in chosen}
    left = most - sum(counts.values())
    growing = [one for one in chosen if counts[one.name] < one.files]
    while left and growing:
        to_share, total = left, sum(one.size_bytes for one in growing) or 1
        for one in growing:
            # Rounded up, so that every pass ends with fewer left.
            share = -(-to_share * one.size_bytes // total) or 1
            more = min(one.files - counts[one.name], left, share)
            counts[one.name] += more
            left -= more
        growing = [one for one in growing if counts[one.name] < one.files]
    return {name: count for name, count in counts.items() if count}


def combine(
    formats: Sequence[Format],
    drawn: Sequence[DrawnFile],
    durations: Mapping[str, int],
    *,
    known: int,
    known_hours: float,
    settings: Settings,
) -> AudioEstimate:
    """The estimate for *formats*, of which *drawn* were to be read and *durations* were."""
    sample: dict[str, list[DrawnFile]] = {one.name: [] for one in formats}
    for file in drawn:
        sample[file.format].append(file)
    seconds, guessed_seconds, errors = [known_hours * 3600], [0.0], [0.0]
    read = sampled = guessed = 0
    rates: dict[str, float] = {}
    for one in formats:
        asked = sample[one.name]
        found = [(file.size_bytes, durations[file.url] / 1000) for file in asked if file.url in durations]
        seconds.extend(duration for _, duration in found)
        read += len(found)
        unread = one.files - len(found)
        unread_bytes = one.size_bytes - sum(size for size, _ in found)
        if not unread:
            continue
        made = None if one.name == _REST else rate(found, files=one.files, size_bytes=one.size_bytes)
        # Where most could not be read, those that could are no sample of the others.
        if made is None or 2 * len(found) < len(asked):
            guessed += unread
            guessed_seconds.append(unread_bytes * guessed_seconds_per_byte(one.name, settings))
        else:
            sampled += unread
            seconds.append(unread_bytes * made.seconds_per_byte)
            errors.append(made.error_seconds)
            safe = 2 * made.standard_error_seconds / unread_bytes if unread_bytes else 0.0
            rates[one.name] = max(made.seconds_per_byte + safe, _high_rate(found))
    return AudioEstimate(
        hours=fsum([*seconds, *guessed_seconds]) / 3600,
        error_hours=sqrt(fsum(one * one for one in errors)) / 3600,
        guessed_hours=fsum(guessed_seconds) / 3600,
        known=known,
        asked=len(drawn),
        read=read,
        sampled=sampled,
        guessed=guessed,
        seconds_per_byte=rates,
        durations={one.file_id: durations[one.url] for one in drawn if one.url in durations},
    )


def rate(found: Sequence[tuple[int, float]], *, files: int, size_bytes: int) -> Rate | None:
    """The rate of a format from (bytes, seconds) of some of its *files*, which have *size_bytes* together; None of too few.

    Cochran, Sampling Techniques, 6.3 and 6.4: the variance of a ratio estimate of a total, without replacement.
    """
    count = len(found)
    read_bytes = sum(size for size, _ in found)
    if count < _LEAST_READ or not read_bytes:
        return None
    ratio = fsum(duration for _, duration in found) / read_bytes
    spread = fsum((duration - ratio * size) ** 2 for size, duration in found) / (count - 1)
    variance = files * files * (1 - count / files) / count * spread
    # The mean size of all files is known: the error of the ratio itself, times the bytes there are.
    scale = (size_bytes / files) / (read_bytes / count)
    return Rate(ratio, sqrt(variance) * scale, count - 1)


def _high_rate(found: Sequence[tuple[int, float]]) -> float:
    """The seconds in a byte that at most one of twenty of *found* (bytes, seconds) exceeds; of fewer than twenty, none does."""
    rates = sorted(duration / size for size, duration in found if size)
    return rates[-1 - len(rates) // 20] if rates else 0.0


def _t95(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by its expansion around the normal quantile (within 0.02 from 4 on)."""
    z = 1.959964
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
