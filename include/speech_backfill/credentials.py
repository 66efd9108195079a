"""Speech resources and storage accounts from the environment, for the command line (Airflow has connections instead).

    SPEECH_BACKFILL_RESOURCE_<NAME>_ENDPOINT   and  …_KEY (or none: Entra ID), …_REGION, …_API_VERSION, …_WINDOW, …_RESIDENCY
    SPEECH_BACKFILL_ACCOUNT_<NAME>_ENDPOINT    and  …_KEY or …_SAS (or neither: Entra ID)

The account's name is <NAME> in lower case, unless …_NAME says otherwise; the first account in alphabetical order is the
default of az:// URIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from speech_backfill.accounts import (
    AccountKey,
    Credential,
    Identity,
    SasToken,
    StorageAccount,
    StorageAccounts,
)
from speech_backfill.errors import SettingsError
from speech_backfill.settings import PREFIX
from speech_backfill.speech.resource import (
    API_VERSION,
    EntraToken,
    SpeechCredential,
    SpeechKey,
    SpeechResource,
)

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_RESOURCE = f"{PREFIX}RESOURCE_"
_ACCOUNT = f"{PREFIX}ACCOUNT_"


def resources(environment: Mapping[str, str]) -> tuple[SpeechResource, ...]:
    """The Speech resources that *environment* describes. Raises SettingsError."""
    found = []
    for name, values in _groups(
        environment, _RESOURCE, ("ENDPOINT", "KEY", "REGION", "API_VERSION", "WINDOW", "RESIDENCY")
    ).items():
        credential: SpeechCredential = SpeechKey(values["KEY"]) if "KEY" in values else EntraToken(_entra())
        found.append(
            SpeechResource(
                name=name.lower(),
                endpoint=_required(values, f"{_RESOURCE}{name}_ENDPOINT", "ENDPOINT"),
                credential=credential,
                region=values.get("REGION", ""),
                api_version=values.get("API_VERSION", API_VERSION),
                window=_whole(f"{_RESOURCE}{name}_WINDOW", values.get("WINDOW", "4")),
                residency=values.get("RESIDENCY", ""),
            )
        )
    return tuple(found)


def accounts(environment: Mapping[str, str]) -> StorageAccounts:
    """The storage accounts that *environment* describes. Raises SettingsError."""
    found = []
    for name, values in _groups(environment, _ACCOUNT, ("ENDPOINT", "KEY", "SAS", "NAME")).items():
        credential: Credential
        if "KEY" in values:
            credential = AccountKey(values["KEY"])
        elif "SAS" in values:
            credential = SasToken(values["SAS"])
        else:
            credential = Identity(_entra())
        account = values.get("NAME", name.lower())
        endpoint = values.get("ENDPOINT", f"https://{account}.blob.core.windows.net").rstrip("/")
        found.append(StorageAccount(account, endpoint, credential))
    return StorageAccounts.of(found)


def _groups(environment: Mapping[str, str], prefix: str, keys: tuple[str, ...]) -> dict[str, dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    for variable in sorted(environment):
        if not variable.startswith(prefix) or not environment[variable]:
            continue
        rest = variable.removeprefix(prefix)
        key = next((one for one in keys if rest.endswith(f"_{one}")), None)
        if key is None:
            raise SettingsError(variable, "no such setting", f"It ends in one of {', '.join(keys)}.")
        groups.setdefault(rest.removesuffix(f"_{key}"), {})[key] = environment[variable]
    return groups


def _required(values: Mapping[str, str], variable: str, key: str) -> str:
    if key not in values:
        raise SettingsError(variable, "it is not set", "Set it to the endpoint of the Speech resource.")
    return values[key]


def _whole(variable: str, text: str) -> int:
    if not text.isdecimal():
        raise SettingsError(variable, f"{text!r} is no whole number", "Correct it.")
    return int(text)


def _entra() -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    return cast("TokenCredential", cast("Any", DefaultAzureCredential()))
