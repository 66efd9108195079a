"""Search everything that a deployment has written anywhere for its secrets: databases, logs, store, tables, pages.

What is allowed to hold them is left out: the file of the stack's own keys, the emulator's state (the service must know the
URLs that it was given), and process environments.
"""

from __future__ import annotations

import base64
import io
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import sqlalchemy as sa
import zstandard

from end_to_end.deployment import Deployment
from local import azurite
from local.airflow import ApiError
from local.stack import STORE_CONTAINER

_SIGNATURE = re.compile(rb"sig=(?:[A-Za-z0-9+/_-]|%2[BFbf]|%3[Dd]|=){16,}")
"""A SAS of anybody's, however it is quoted."""

_BEARER = re.compile(rb"[Bb]earer [A-Za-z0-9._~+/-]{16,}")


@dataclass(frozen=True)
class Written:
    """Something that was written, and where."""

    where: str
    content: bytes


def leaks(written: Iterable[Written], secrets: Mapping[str, str]) -> list[str]:
    """Where one of *secrets* (by name), a SAS signature or a bearer token stands; nothing is what is wanted."""
    needles = {name: spelled(value) for name, value in secrets.items()}
    found = []
    for one in written:
        found += [
            f"{name} in {one.where}"
            for name, ways in needles.items()
            if any(way in one.content for way in ways)
        ]
        for kind, pattern in (("a SAS", _SIGNATURE), ("a bearer token", _BEARER)):
            if match := pattern.search(one.content):
                found.append(f"{kind} in {one.where}: …{_around(one.content, match.start())}")
    return found


def spelled(secret: str) -> list[bytes]:
    """The ways in which a secret may be written down."""
    plain = secret.encode()
    return list(
        {plain, quote(secret, safe="").encode(), base64.b64encode(plain), secret.replace("/", "\\/").encode()}
    )


def _around(content: bytes, at: int) -> str:
    """What stands before a match, so that its place is found without printing the secret."""
    return content[max(0, at - 120) : at].decode(errors="replace").replace("\n", " ")


# --- what was written -----------------------------------------------------------------------------


def everything(deployment: Deployment, *, databases: Iterable[str] = ()) -> Iterator[Written]:
    """All of a deployment that keeps its databases in files; *databases* are URLs of further ones."""
    yield from files(deployment)
    yield from stored(deployment)
    yield from pages(deployment)
    for url in databases:
        yield from rows(url)


def files(deployment: Deployment) -> Iterator[Written]:
    """Every file below the stack's folder but for those that are there to hold secrets."""
    folder = deployment.stack.checkout.stack
    # The emulator keeps what it was sent, as the service must; Azurite's data is the store, which is read as such.
    without = (
        folder / "speech",
        folder / "azurite",
        folder / "secrets.json",
        folder / "speech-emulator.json",
    )
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(path.is_relative_to(one) for one in without):
            continue
        if path.name in {"passwords.json", "airflow.cfg"}:
            continue  # the login itself; and Airflow's defaults
        yield Written(str(path.relative_to(folder)), path.read_bytes())
        if path.suffix in {".db", ".sqlite"}:
            yield from rows(f"sqlite:///{path}")


def rows(url: str) -> Iterator[Written]:
    """Every row of every table of a database, as text."""
    if url.startswith("sqlite:///"):
        with sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True) as connection:
            connection.text_factory = bytes
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in names:
                table = name.decode()
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    yield Written(f"table {table}", b" ".join(_bytes(one) for one in row))
        return
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            for row in connection.execute(sa.text(f'SELECT t::text FROM "{table}" t')):
                yield Written(f"table {table}", row[0].encode())
    engine.dispose()


def stored(deployment: Deployment) -> Iterator[Written]:
    """Every blob of the store: as it is, and what it holds when it is unpacked."""
    from azure.storage.blob import BlobServiceClient

    text = azurite.connection_string(deployment.stack.ports.azurite)
    with BlobServiceClient.from_connection_string(text) as service:
        container = service.get_container_client(STORE_CONTAINER)
        for name in container.list_blob_names():
            content = container.download_blob(name).readall()
            yield Written(f"store {name}", content)
            if name.endswith(".zst"):
                unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(content)
                yield Written(f"store {name}", unpacked)
            if name.endswith(".parquet"):
                table = pq.read_table(io.BytesIO(content))
                yield Written(f"store {name}", repr(table.to_pylist()).encode())
                yield Written(f"store {name}", str(table.schema.metadata).encode())


def pages(deployment: Deployment) -> Iterator[Written]:
    """What the UI shows of each run and each task instance, by the requests that its pages make."""
    api = deployment.stack.airflow.api

    def page(path: str) -> Iterator[Written]:
        try:
            shown = api.get(path)
        except ApiError as error:
            # An attempt that was killed before it began has no page.
            if error.status != 404:
                raise
            return
        yield Written(f"page {path}", repr(shown).encode())

    for path in ("/dags", "/connections", "/variables", "/eventLogs?limit=1000", "/importErrors", "/plugins"):
        yield from page(path)
    for dag in api.get("/dags?limit=100")["dags"]:
        dag_id = dag["dag_id"]
        yield from page(f"/dags/{dag_id}/details")
        for run in api.get(f"/dags/{dag_id}/dagRuns?limit=1000")["dag_runs"]:
            where = f"/dags/{dag_id}/dagRuns/{quote(run['dag_run_id'], safe='')}"
            yield from page(where)
            for task in api.get(f"{where}/taskInstances?limit=1000")["task_instances"]:
                instance = f"{where}/taskInstances/{task['task_id']}"
                mapped = task["map_index"]
                yield from page(f"{instance}/{mapped}" if mapped >= 0 else instance)
                entries = api.get(f"{instance}/xcomEntries?map_index={mapped}")["xcom_entries"]
                for entry in entries:
                    yield from page(f"{instance}/xcomEntries/{entry['key']}?map_index={mapped}")
                for number in range(1, task["try_number"] + 1):
                    yield from page(f"{instance}/logs/{number}?map_index={mapped}&full_content=true")


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
