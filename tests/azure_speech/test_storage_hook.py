"""The Azure provider's storage connections, in every way they name an account and its credential."""

import json

import pytest
from airflow.sdk import Connection

from azure_speech.hooks.storage import account_of, storage_accounts
from speech_backfill.accounts import AccountKey, Identity, SasToken
from speech_backfill.errors import SettingsError

AZURITE = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5PT0=;BlobEndpoint=http://127.0.0.1:10001/devstoreaccount1;"


def account(**fields):
    extra = fields.pop("extra", {})
    return account_of(Connection(conn_id="wasb", conn_type="wasb", extra=json.dumps(extra), **fields))


@pytest.mark.parametrize(
    ("fields", "name", "endpoint", "credential"),
    [
        (
            {"extra": {"connection_string": AZURITE}},
            "devstoreaccount1",
            "http://127.0.0.1:10001/devstoreaccount1",
            AccountKey("a2V5PT0="),
        ),
        (
            {"extra": {"extra__wasb__connection_string": AZURITE}},
            "devstoreaccount1",
            "http://127.0.0.1:10001/devstoreaccount1",
            AccountKey("a2V5PT0="),
        ),
        (
            {"extra": {"connection_string": "AccountName=acct;AccountKey=k=="}},
            "acct",
            "https://acct.blob.core.windows.net",
            AccountKey("k=="),
        ),
        (
            {
                "extra": {
                    "connection_string": "AccountName=acct;AccountKey=k;EndpointSuffix=core.chinacloudapi.cn"
                }
            },
            "acct",
            "https://acct.blob.core.chinacloudapi.cn",
            AccountKey("k"),
        ),
        (
            {
                "extra": {
                    "connection_string": "BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=a%3D"
                }
            },
            "acct",
            "https://acct.blob.core.windows.net",
            SasToken("sv=1&sig=a%3D"),
        ),
        ({"login": "acct", "password": "k"}, "acct", "https://acct.blob.core.windows.net", AccountKey("k")),
        ({"host": "acct", "password": "k"}, "acct", "https://acct.blob.core.windows.net", AccountKey("k")),
        (
            {"host": "https://acct.blob.core.windows.net/", "password": "k"},
            "acct",
            "https://acct.blob.core.windows.net",
            AccountKey("k"),
        ),
        (
            {"host": "acct.blob.core.windows.net", "password": "k"},
            "acct",
            "https://acct.blob.core.windows.net",
            AccountKey("k"),
        ),
        (
            {"host": "http://azurite:10000/devstoreaccount1", "login": "devstoreaccount1", "password": "k"},
            "devstoreaccount1",
            "http://azurite:10000/devstoreaccount1",
            AccountKey("k"),
        ),
        (
            {"login": "acct", "extra": {"shared_access_key": "k2"}},
            "acct",
            "https://acct.blob.core.windows.net",
            AccountKey("k2"),
        ),
        (
            {"login": "acct", "extra": {"account_key": "k3"}},
            "acct",
            "https://acct.blob.core.windows.net",
            AccountKey("k3"),
        ),
        (
            {"login": "acct", "extra": {"sas_token": "?sv=1&sig=s"}},
            "acct",
            "https://acct.blob.core.windows.net",
            SasToken("sv=1&sig=s"),
        ),
        (
            {"extra": {"sas_token": "https://acct.blob.core.windows.net/?sv=1&sig=s"}},
            "acct",
            "https://acct.blob.core.windows.net",
            SasToken("sv=1&sig=s"),
        ),
    ],
)
def test_every_way_to_name_an_account_is_understood(fields, name, endpoint, credential):
    made = account(**fields)

    assert (made.name, made.blob_endpoint) == (name, endpoint)
    assert made.credential == credential


def test_development_storage_is_azurite():
    made = account(extra={"connection_string": "UseDevelopmentStorage=true"})

    assert (made.name, made.blob_endpoint) == ("devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (
            {
                "host": "https://acct.blob.core.windows.net",
                "login": "client",
                "password": "secret",
                "extra": {"tenant_id": "t"},
            },
            "ClientSecretCredential",
        ),
        ({"host": "https://acct.blob.core.windows.net"}, "DefaultAzureCredential"),
        ({"login": "acct"}, "DefaultAzureCredential"),
    ],
)
def test_identities_are_taken_from_the_same_fields_as_the_provider_takes_them(fields, kind):
    made = account(**fields)

    assert made.name == "acct"
    assert isinstance(made.credential, Identity)
    assert type(made.credential.credential).__name__ == kind


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"extra": {"connection_string": "nonsense"}},
        {"extra": {"connection_string": "AccountName=a"}},
        {"host": "https://a.blob.core.windows.net", "extra": {"tenant_id": "t"}},
    ],
)
def test_a_connection_that_names_no_account_or_half_a_credential_says_so(fields):
    with pytest.raises(SettingsError, match="connection wasb"):
        account(**fields)


def test_accounts_keep_their_order_and_show_no_secret(connect):
    connect("wasb_one", conn_type="wasb", login="one", password="secret-1")
    connect("wasb_two", conn_type="wasb", login="two", extra={"sas_token": "sig=secret-2"})

    made = storage_accounts(["wasb_two", "wasb_one"])

    assert [one.name for one in made.accounts] == ["two", "one"]
    assert "secret" not in repr(made)
