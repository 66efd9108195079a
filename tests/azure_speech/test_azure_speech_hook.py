"""Connections become resources; a test of a connection says what is wrong with it."""

import json

import httpx
import pytest
from airflow.sdk import Connection

from azure_speech.hooks.azure_speech import AzureSpeechHook, resource_of
from speech_backfill.errors import SettingsError
from speech_backfill.speech.resource import EntraToken, SpeechKey


def connection(**fields):
    extra = fields.pop("extra", {})
    values = {
        "conn_id": "speech_west",
        "conn_type": "azure_speech",
        "host": "https://west.example",
        "password": "k1",
    }
    return Connection(**(values | fields), extra=json.dumps(extra))


def test_a_connection_with_a_key_is_a_resource():
    extra = {"region": "westeurope", "api_version": "2024-11-15", "window": "7"}

    resource = resource_of(connection(extra=extra))

    assert (resource.name, resource.endpoint) == ("speech_west", "https://west.example")
    assert resource.credential == SpeechKey("k1")
    assert (resource.region, resource.api_version, resource.window) == (
        "westeurope",
        "2024-11-15",
        7,
    )


def test_what_a_form_leaves_empty_is_the_default():
    empty = dict.fromkeys(["region", "api_version", "authentication", "window"], "")

    resource = resource_of(connection(extra=empty))

    assert (resource.region, resource.api_version, resource.window) == (
        "",
        "2025-10-15",
        4,
    )


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("azure-speech://:k1@west.example", "https://west.example"),
        ("azure-speech://:k1@127.0.0.1:8085/http", "http://127.0.0.1:8085"),
        ("azure-speech://:k1@http%3A%2F%2F127.0.0.1%3A8085%2Fwest/", "http://127.0.0.1:8085/west"),
    ],
)
def test_a_connection_written_as_a_uri_is_understood(uri, endpoint):
    assert resource_of(Connection.from_uri(uri, conn_id="x")).endpoint == endpoint


def test_a_service_principal_is_used_with_all_three_parts():
    from azure.identity import ClientSecretCredential

    made = resource_of(connection(login="client", extra={"authentication": "entra", "tenant_id": "tenant"}))

    assert isinstance(made.credential, EntraToken)
    assert isinstance(made.credential.credential, ClientSecretCredential)


@pytest.mark.parametrize(
    ("extra", "kind"),
    [({}, "DefaultAzureCredential"), ({"managed_identity_client_id": "m"}, "ManagedIdentityCredential")],
)
def test_without_a_principal_the_machine_is_the_identity(extra, kind):
    made = resource_of(connection(password=None, extra={"authentication": "entra"} | extra))

    assert type(made.credential.credential).__name__ == kind


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"conn_type": "http"}, "type http"),
        ({"host": None}, "no endpoint"),
        ({"password": None}, "no key"),
        ({"password": "two words"}, "empty or holds characters"),
        ({"extra": {"authentication": "magic"}}, "neither key nor entra"),
        ({"extra": {"window": "many"}}, "window"),
        ({"extra": {"window": 0}}, "window"),
        ({"login": "client", "extra": {"authentication": "entra"}}, "tenant id"),
    ],
)
def test_a_connection_that_can_not_work_says_why(fields, said):
    with pytest.raises(SettingsError, match=said) as caught:
        resource_of(connection(**fields))

    assert "two words" not in str(caught.value)


def test_a_working_connection_tests_well(endpoint, service):
    works, message = AzureSpeechHook("speech_west").test_connection()

    assert works, message
    assert service.calls == {"list": 1}
    assert endpoint in message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            httpx.Response(401, json={"error": {"code": "401", "message": "wrong key"}}),
            "Check the connection: the key",
        ),
        (httpx.Response(404, text="nothing here"), "endpoint is wrong"),
        (httpx.Response(200, text="<html>a portal</html>"), "unreadable answer"),
        (httpx.Response(503), "could not list transcriptions"),
        (
            httpx.Response(
                400,
                json={
                    "code": "InvalidRequest",
                    "message": "x",
                    "innerError": {"code": "InvalidSubscription", "message": "x"},
                },
            ),
            "S0",
        ),
    ],
)
@pytest.mark.usefixtures("endpoint")
def test_a_broken_connection_says_what_is_wrong(service, answer, said):
    service.script("list", answer)

    works, message = AzureSpeechHook("speech_west").test_connection()

    assert not works
    assert said in message
    assert "speech_west" not in message, (
        "name the endpoint: Airflow tests unsaved connections under a random id"
    )


def test_a_service_that_is_down_is_named(connect):
    connect("speech_west", conn_type="azure_speech", host="http://127.0.0.1:9", password="k")

    works, message = AzureSpeechHook("speech_west").test_connection()

    assert not works
    assert "was not reached" in message


@pytest.mark.usefixtures("endpoint")
async def test_the_event_loop_reads_the_same_resource():
    hook = AzureSpeechHook("speech_west")

    assert await hook.aresource() == hook.resource()
