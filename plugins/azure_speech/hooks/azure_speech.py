"""Connections of type azure_speech become Speech resources of the core. Sends nothing but the look of "Test connection"."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from azure_speech.provider import CONNECTION_TYPE, HOOK_NAME
from speech_backfill.errors import SettingsError, SpeechBackfillError
from speech_backfill.speech.resource import (
    API_VERSION,
    EntraToken,
    SpeechCredential,
    SpeechKey,
    SpeechResource,
)

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from azure.core.credentials import TokenCredential

DEFAULT_WINDOW = 4


class AzureSpeechHook(BaseHook):
    """One Azure Speech resource.

    :param azure_speech_conn_id: the connection, of type azure_speech
    """

    conn_name_attr = "azure_speech_conn_id"
    default_conn_name = "azure_speech_default"
    conn_type = CONNECTION_TYPE
    hook_name = HOOK_NAME

    def __init__(self, azure_speech_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        """Nothing is read before it is needed."""
        super().__init__(**kwargs)
        self.azure_speech_conn_id = azure_speech_conn_id

    def resource(self) -> SpeechResource:
        """The resource that the connection describes. Raises SettingsError for one that can't work."""
        return resource_of(self.get_connection(self.azure_speech_conn_id))

    async def aresource(self) -> SpeechResource:
        """The same for an event loop: nothing blocks it."""
        connection = await self.aget_connection(self.azure_speech_conn_id)
        # With Entra ID this imports azure-identity, which takes a second the first time.
        return await asyncio.to_thread(resource_of, connection)

    def get_conn(self) -> SpeechResource:
        """Airflow's name for `resource`."""
        return self.resource()

    def test_connection(self) -> tuple[bool, str]:
        """List one transcription; the message says what is wrong and what to do."""
        try:
            resource = self.resource()
            # Airflow tests a connection that is not saved yet under a name of its own making, which tells nobody anything.
            asyncio.run(_probe(replace(resource, name=resource.endpoint)))
        except SpeechBackfillError as error:
            return False, str(error)
        return True, f"{resource.endpoint} lets us list transcriptions (api-version {resource.api_version})."


def resource_of(connection: Connection) -> SpeechResource:
    """The Speech resource of *connection*; its name is the connection's id. Raises SettingsError."""
    name = connection.conn_id or AzureSpeechHook.default_conn_name
    if (connection.conn_type or "").replace("-", "_") != CONNECTION_TYPE:
        raise SettingsError(
            f"connection {name}",
            f"it is of type {connection.conn_type}",
            f"Use one of type {CONNECTION_TYPE}.",
        )
    extra: dict[str, Any] = connection.extra_dejson
    return SpeechResource(
        name=name,
        endpoint=_endpoint(connection, name),
        credential=_credential(connection, extra, name),
        region=_text(extra, "region") or "",
        api_version=_text(extra, "api_version") or API_VERSION,
        window=_window(extra, name),
        residency=_text(extra, "residency") or "",
    )


async def _probe(resource: SpeechResource) -> None:
    from speech_backfill.speech.client import SpeechClient
    from speech_backfill.speech.retries import ONE_TRY

    async with SpeechClient(resource, retries=ONE_TRY) as client:
        await client.probe()


def _endpoint(connection: Connection, name: str) -> str:
    """The host, with the port and scheme that a connection written as a URI keeps elsewhere."""
    host = (connection.host or "").strip()
    if not host:
        raise SettingsError(
            f"connection {name}", "it has no endpoint", "Enter the Speech resource's endpoint as its host."
        )
    if "://" in host:
        return host
    scheme = connection.schema if connection.schema in {"http", "https"} else "https"
    return f"{scheme}://{host}:{connection.port}" if connection.port else f"{scheme}://{host}"


def _credential(connection: Connection, extra: dict[str, Any], name: str) -> SpeechCredential:
    match _text(extra, "authentication") or "key":
        case "key":
            if not connection.password:
                raise SettingsError(
                    f"connection {name}",
                    "it has no key",
                    "Enter key 1 or key 2 of the Speech resource, or choose entra as its authentication.",
                )
            return SpeechKey(connection.password.strip())
        case "entra":
            return EntraToken(_entra(connection, extra, name))
        case other:
            raise SettingsError(
                f"connection {name}", f"authentication {other!r} is neither key nor entra", "Correct it."
            )


def _entra(connection: Connection, extra: dict[str, Any], name: str) -> TokenCredential:
    """A service principal, a user-assigned managed identity, or the machine's default chain, in this order."""
    from azure.identity import ClientSecretCredential, DefaultAzureCredential, ManagedIdentityCredential

    tenant_id, client_id = _text(extra, "tenant_id"), connection.login
    if client_id or connection.password:
        if not (tenant_id and client_id and connection.password):
            raise SettingsError(
                f"connection {name}",
                "a service principal needs tenant id, client id and client secret",
                "Enter all three, or none of them for the machine's own identity.",
            )
        return ClientSecretCredential(tenant_id, client_id, connection.password)
    managed = _text(extra, "managed_identity_client_id")
    if managed:
        return ManagedIdentityCredential(client_id=managed)
    return DefaultAzureCredential()


def _window(extra: dict[str, Any], name: str) -> int:
    value = extra.get("window")
    if value is None or value == "":
        return DEFAULT_WINDOW
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"connection {name}", f"window {value!r} is no number", "Correct it.") from error


def _text(extra: dict[str, Any], field: str) -> str | None:
    value = extra.get(field)
    return str(value).strip() or None if value is not None else None
