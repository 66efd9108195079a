"""What Airflow shows for connections of type azure_speech: the form's fields and their explanations. Imports nothing."""

from __future__ import annotations

from typing import Any

CONNECTION_TYPE = "azure_speech"
HOOK_NAME = "Azure AI Speech"


def get_provider_info() -> dict[str, Any]:
    """The metadata that Airflow's ProvidersManager reads through the entry point apache_airflow_provider."""
    return {
        "package-name": "azure-speech-provider",
        "name": "Azure AI Speech",
        "description": "Batch transcription with Azure AI Speech.",
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": "azure_speech.hooks.azure_speech.AzureSpeechHook",
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port"],
                    "relabeling": {
                        "host": "Endpoint",
                        "login": "Client id (Entra ID only)",
                        "password": "Key (or client secret)",
                    },
                    "placeholders": {
                        "host": "https://westeurope.api.cognitive.microsoft.com",
                        "login": "application (client) id of a service principal",
                        "password": "key 1 or key 2 of the Speech resource",
                    },
                },
                "conn-fields": {
                    "authentication": _field(
                        "Authentication",
                        "key: the resource's key. entra: Entra ID; the endpoint must be the resource's custom subdomain.",
                        type="string",
                        enum=["key", "entra"],
                        default="key",
                    ),
                    "tenant_id": _field(
                        "Tenant id",
                        "Entra ID with a service principal: the directory (tenant) id.",
                        type=["string", "null"],
                    ),
                    "managed_identity_client_id": _field(
                        "Managed identity client id",
                        "Entra ID with a user-assigned managed identity. Without this and without a client id, the "
                        "default credential chain of the machine is used.",
                        type=["string", "null"],
                    ),
                    "region": _field("Region", "Such as westeurope.", type=["string", "null"]),
                    "residency": _field(
                        "Residency",
                        "A tag such as eu: files that ask for it go to resources that have it, and nowhere else.",
                        type=["string", "null"],
                    ),
                    "api_version": _field(
                        "API version", "Of the Speech to text REST API.", type="string", default="2025-10-15"
                    ),
                    "window": _field(
                        "Window",
                        "How many unfinished transcriptions this resource may have: a region works them one at a time.",
                        type="integer",
                        minimum=1,
                        maximum=1000,
                        default=4,
                    ),
                    "portal_url": _field(
                        "Azure portal page",
                        "Where the button on a waiting task leads; empty: to Airflow's connections.",
                        type=["string", "null"],
                    ),
                },
            }
        ],
    }


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}
