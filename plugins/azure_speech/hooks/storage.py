"""Connections of the Azure provider's type wasb become storage accounts of the core. Opens no connection itself.

The fields mean what they mean to the provider's WasbHook, in its order: connection string, service principal, shared
access key, SAS, key as password, account key, managed identity, the machine's default credential.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from speech_backfill.accounts import (
    AccountKey,
    Credential,
    Identity,
    SasToken,
    StorageAccount,
    StorageAccounts,
)
from speech_backfill.errors import SettingsError

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONNECTION_TYPE = "wasb"

_AZURITE_ACCOUNT = "devstoreaccount1"
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Published by Microsoft for local development: UseDevelopmentStorage=true stands for these two."""

_AZURITE_ENDPOINT = f"http://127.0.0.1:10000/{_AZURITE_ACCOUNT}"


def storage_accounts(conn_ids: Sequence[str]) -> StorageAccounts:
    """The accounts of the connections *conn_ids*, in order. Raises SettingsError for one that names no account."""
    return StorageAccounts.of(account_of(BaseHook.get_connection(one)) for one in conn_ids)


def account_of(connection: Connection) -> StorageAccount:
    """The storage account of *connection*."""
    name = connection.conn_id or "wasb_default"
    if connection.conn_type != CONNECTION_TYPE:
        raise SettingsError(
            f"connection {name}",
            f"it is of type {connection.conn_type}",
            f"Use one of type {CONNECTION_TYPE}.",
        )
    extra: dict[str, Any] = connection.extra_dejson
    if text := _field(extra, "connection_string"):
        return _from_connection_string(text, name)
    account_name, endpoint = _address(connection, name, sas_url=_sas_url(extra))
    return StorageAccount(account_name, endpoint, _credential(connection, extra, name))


def _from_connection_string(text: str, name: str) -> StorageAccount:
    parts = {
        key.strip().lower(): value.strip()
        for key, sign, value in (one.partition("=") for one in text.split(";"))
        if sign
    }
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return StorageAccount(_AZURITE_ACCOUNT, _AZURITE_ENDPOINT, AccountKey(_AZURITE_KEY))
    account_name = parts.get("accountname", "")
    endpoint = parts.get("blobendpoint", "").rstrip("/")
    if not endpoint and account_name:
        scheme = parts.get("defaultendpointsprotocol", "https")
        endpoint = f"{scheme}://{account_name}.blob.{parts.get('endpointsuffix', 'core.windows.net')}"
    account_name = account_name or _account_in(endpoint)
    if not account_name or not endpoint:
        raise SettingsError(
            f"connection {name}",
            "its connection string names no account",
            "Copy the connection string of the storage account again.",
        )
    if key := parts.get("accountkey"):
        return StorageAccount(account_name, endpoint, AccountKey(key))
    if sas := parts.get("sharedaccesssignature"):
        return StorageAccount(account_name, endpoint, SasToken(sas.lstrip("?")))
    raise SettingsError(
        f"connection {name}",
        "its connection string holds neither AccountKey nor SharedAccessSignature",
        "Copy the connection string of the storage account again.",
    )


def _address(connection: Connection, name: str, *, sas_url: str | None) -> tuple[str, str]:
    """(account name, blob endpoint). The host may be a URL, a host name or the account's name alone."""
    host = (sas_url or connection.host or "").strip().split("?", 1)[0].rstrip("/")
    login = (connection.login or "").strip()
    if host and "://" not in host and "." in host:
        host = f"https://{host}:{connection.port}" if connection.port else f"https://{host}"
    if "://" in host:
        # With a service principal the login is its client id; then only the endpoint names the account.
        path_style = urlsplit(host).path.strip("/")
        return path_style or _account_in(host) or login, host
    account_name = host or login
    if not account_name:
        raise SettingsError(
            f"connection {name}",
            "it names no storage account",
            "Enter the account's URL as its host, or the account's name as its login.",
        )
    return account_name, f"https://{account_name}.blob.core.windows.net"


def _credential(connection: Connection, extra: dict[str, Any], name: str) -> Credential:
    if tenant_id := _field(extra, "tenant_id"):
        from azure.identity import ClientSecretCredential

        if not connection.login or not connection.password:
            raise SettingsError(
                f"connection {name}",
                "a service principal needs tenant id, client id (login) and client secret (password)",
                "Enter all three.",
            )
        return Identity(ClientSecretCredential(tenant_id, connection.login, connection.password))
    if key := _field(extra, "shared_access_key"):
        return AccountKey(key)
    if sas := _field(extra, "sas_token"):
        return SasToken(sas.partition("?")[2] if "://" in sas else sas.lstrip("?"))
    if connection.password:
        return AccountKey(connection.password)
    if key := _field(extra, "account_key"):
        return AccountKey(key)
    from azure.identity import DefaultAzureCredential

    return Identity(
        DefaultAzureCredential(
            managed_identity_client_id=_field(extra, "managed_identity_client_id"),
            workload_identity_tenant_id=_field(extra, "workload_identity_tenant_id"),
        )
    )


def _sas_url(extra: dict[str, Any]) -> str | None:
    sas = _field(extra, "sas_token")
    return sas if sas and "://" in sas else None


def _account_in(endpoint: str) -> str:
    return (urlsplit(endpoint).hostname or "").split(".", 1)[0] if not _is_address(endpoint) else ""


def _is_address(endpoint: str) -> bool:
    """Whether the host is an IP address or a plain machine name, as with Azurite: then it names no account."""
    host = urlsplit(endpoint).hostname or ""
    return "." not in host or host.replace(".", "").isdigit()


def _field(extra: dict[str, Any], field: str) -> str | None:
    value = extra.get(field) or extra.get(f"extra__wasb__{field}")
    return str(value).strip() or None if value else None
