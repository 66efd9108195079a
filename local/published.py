"""What a run has published, read through the project's own door to its tables. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.storage.blob import ContainerClient

from local import azurite
from local.expected import Outcome
from speech_backfill import paths
from speech_backfill.tables.read import read_table


def storage_options(port: int) -> dict[str, str]:
    """How `read_table` reaches the emulated account."""
    return {
        "account_name": azurite.ACCOUNT,
        "account_key": azurite.WELL_KNOWN_KEY,
        "blob_endpoint": azurite.endpoint(port),
    }


def outcomes(store: str, partition: str, options: Mapping[str, str]) -> dict[str, Outcome]:
    """Each audio file of *partition* by its path in the container, with the text of each channel."""
    files = read_table(store, "outcomes", partition=partition, storage_options=options)
    # A file that an earlier run had transcribed for another partition has its rows there.
    partitions = sorted({partition, *(name for name in files["transcribed_in"].dropna())})
    transcripts = read_table(store, "transcripts", partition=partitions, storage_options=options)
    texts: dict[str, dict[int, str]] = {}
    for row in transcripts.to_dict("records"):
        texts.setdefault(str(row["file_id"]), {})[int(row["channel"])] = text(row["display"]) or text(
            row["lexical"]
        )
    return {
        blob_name(str(row["audio_url"])): Outcome(
            str(row["outcome"]), reason(row), texts.get(str(row["file_id"]), {})
        )
        for row in files.to_dict("records")
    }


def text(value: Any) -> str:
    """A cell as text; empty where it is null."""
    return value if isinstance(value, str) else ""


def reason(row: Mapping[Any, Any]) -> str:
    """Why a file failed, in the words of the table."""
    return ": ".join(part for part in (text(row["error_code"]), text(row["error_message"])) if part)


def blob_name(url: str) -> str:
    """The name of the blob at *url*, below its container, as it was uploaded."""
    path = unquote(urlsplit(url).path).lstrip("/")
    account_and_container = path.split("/", 2)
    return account_and_container[2] if len(account_and_container) > 2 else path


def latest_report(connection_string: str, container: str, partition: str) -> tuple[str, str] | None:
    """The path and text of the newest run report of *partition* for people; None where there is none."""
    prefix = paths.report(partition, "", "md").rpartition("/")[0] + "/"
    with ContainerClient.from_connection_string(connection_string, container) as client:
        found = [blob for blob in client.list_blobs(name_starts_with=prefix) if blob.name.endswith(".md")]
        if not found:
            return None
        newest = max(found, key=lambda blob: blob.last_modified)
        return newest.name, client.download_blob(newest.name).readall().decode()
