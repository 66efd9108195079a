"""Blobs whose names obstore can't hold (an empty step, a control character), by way of Azure's own client.

It costs several times the CPU, so it is only called where obstore has given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from speech_backfill.accounts import AccountKey, BlobLocation, Identity, SasToken


def list_unusual(place: BlobLocation, folder: str, *, after: str) -> Iterator[dict[str, Any]]:
    """The blobs below *folder* whose names come after *after*, as obstore would describe them."""
    with _container(place) as container:
        for blob in container.list_blobs(name_starts_with=f"{folder}/" if folder else None):
            if blob.name > after:
                yield _meta(blob.name, blob)


def head_unusual(place: BlobLocation) -> dict[str, Any] | None:
    """What is known of one blob, as obstore would describe it; None where it is not there."""
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    with _container(place) as container:
        try:
            return _meta(place.path, container.get_blob_client(place.path).get_blob_properties())
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            if error.status_code == 400:  # a name that the service does not accept either
                return None
            raise


def _meta(name: str, blob: Any) -> dict[str, Any]:
    return {"path": name, "size": blob.size, "e_tag": blob.etag, "last_modified": blob.last_modified}


@contextmanager
def _container(place: BlobLocation) -> Iterator[Any]:
    from azure.storage.blob import ContainerClient

    account = place.account
    credential: Any
    match account.credential:
        case AccountKey(key=key):
            credential = {"account_name": account.name, "account_key": key}
        case SasToken(sas=sas):
            credential = sas.lstrip("?")
        case Identity(credential=held):
            credential = held
    with ContainerClient(account.blob_endpoint, place.container, credential=credential) as client:
        yield client
