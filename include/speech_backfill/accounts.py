"""Storage accounts: what a URI means, who may read it, and the SAS that lets the Speech service read it.

Audio and manifests come from these accounts only. Nothing here logs or stores a key, a token or a SAS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from speech_backfill.errors import AudioUriError, SettingsError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_PATH_SAFE = "/-._~!$&'()*+,;=:@"
_MAX_DELEGATION = timedelta(days=7)
"""A user delegation key lives seven days at the most (Azure Storage, Get User Delegation Key)."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """The shared key of an account: it may read, and sign any SAS."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SasToken:
    """A SAS somebody else made; it is handed on as it is, for we can't sign another."""

    sas: str = field(repr=False)

    @property
    def expires_at(self) -> float | None:
        """When it ends, in seconds since 1970 (field `se`); None where it names a stored policy instead."""
        ends = parse_qs(self.sas.lstrip("?")).get("se")
        return datetime.fromisoformat(ends[0]).timestamp() if ends else None


@dataclass(frozen=True, slots=True)
class Identity:
    """An Entra ID credential; SAS are signed with a user delegation key."""

    credential: TokenCredential = field(repr=False)


Credential = AccountKey | SasToken | Identity


@dataclass(frozen=True, slots=True)
class BlobLocation:
    """A blob, or a prefix, within an account that we know."""

    account: StorageAccount
    container: str
    path: str

    @property
    def url(self) -> str:
        """The canonical URL, percent-encoded, without a query."""
        return f"{self.account.blob_endpoint}/{self.container}/{quote(self.path, safe=_PATH_SAFE)}"


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """One account. *blob_endpoint* has no trailing slash; Azurite's ends with the account's name."""

    name: str
    blob_endpoint: str
    credential: Credential

    def container(self, name: str, prefix: str = "", *, timeout_seconds: int = 120) -> Any:
        """An obstore AzureStore on container *name*, below *prefix*; one request takes *timeout_seconds* at the most."""
        from obstore.store import AzureStore

        options: dict[str, Any] = {
            "account_name": self.name,
            "endpoint": self.blob_endpoint,
            "client_options": {
                "allow_http": self.blob_endpoint.startswith("http://"),
                "timeout": f"{timeout_seconds}s",
            },
            "retry_config": {"max_retries": 4, "retry_timeout": timedelta(seconds=timeout_seconds / 2)},
        }
        match self.credential:
            case AccountKey(key=key):
                options["account_key"] = key
            case SasToken(sas=sas):
                options["sas_key"] = sas.lstrip("?")
            case Identity(credential=credential):
                from obstore.auth.azure import AzureCredentialProvider

                options["credential_provider"] = AzureCredentialProvider(credential=cast("Any", credential))
        return AzureStore(name, prefix=prefix or None, **options)

    def signer(self, *, now: float, hours: float, better_hours: float = 0.0) -> Callable[[str, str], str]:
        """A function (container, path) → read SAS of one blob, valid from a little before *now* for *hours*.

        One that we sign is valid for *better_hours* if they are more, as far as its key goes: seven days with an identity. A
        SAS from the connection is returned as it is. Raises SettingsError if that one ends before *hours* have passed.
        """
        start = datetime.fromtimestamp(now, UTC) - timedelta(minutes=15)
        end = datetime.fromtimestamp(now, UTC) + timedelta(hours=max(hours, better_hours))
        match self.credential:
            case SasToken(sas=sas) as token:
                expires_at = token.expires_at
                if expires_at is not None and expires_at < now + hours * 3600:
                    raise SettingsError(
                        "storage connection",
                        f"the SAS of account {self.name} {'expired' if expires_at < now else 'expires'} at "
                        f"{datetime.fromtimestamp(expires_at, UTC):%Y-%m-%d %H:%M} UTC, and the service may want to read "
                        f"the audio for {hours:g} hours",
                        "Put a longer SAS (read and list) or a key into the connection, or lower SPEECH_BACKFILL_SAS_HOURS.",
                    )
                return lambda _container, _path: sas.lstrip("?")
            case AccountKey(key=key):
                return self._blob_signer(start, end, account_key=key)
            case Identity(credential=credential):
                from azure.storage.blob import BlobServiceClient

                end = min(end, start + _MAX_DELEGATION)
                with BlobServiceClient(self.blob_endpoint, credential=credential) as service:
                    delegated = service.get_user_delegation_key(start, end)
                return self._blob_signer(start, end, user_delegation_key=delegated)

    def _blob_signer(self, start: datetime, end: datetime, **secret: Any) -> Callable[[str, str], str]:
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        def sign(container: str, path: str) -> str:
            signed: str = generate_blob_sas(
                self.name,
                container,
                path,
                permission=BlobSasPermissions(read=True),
                start=start,
                expiry=end,
                **secret,
            )
            return signed

        return sign


@dataclass(frozen=True, slots=True)
class StorageAccounts:
    """The accounts that a run may touch; the first is the default of az:// URIs."""

    accounts: tuple[StorageAccount, ...]

    @classmethod
    def of(cls, accounts: Iterable[StorageAccount]) -> StorageAccounts:
        """Collect *accounts*."""
        return cls(tuple(accounts))

    def locate(self, uri: str) -> BlobLocation:
        """What *uri* means: https of a known account, abfs(s)/wasb(s)://container@host/path, or az://container/path.

        The query (a SAS, perhaps) is dropped: access comes from the account's own credential.
        Raises AudioUriError with a code that says why not: InvalidUri, UnknownAccount.
        """
        try:
            return self._locate(uri.strip())
        except ValueError as error:  # urlsplit's own, for brackets that hold no address and the like
            raise AudioUriError("InvalidUri", f"{_shown(uri.strip())} is no URI") from error

    def _locate(self, text: str) -> BlobLocation:
        if not text or any(ord(letter) < 32 for letter in text):
            raise AudioUriError("InvalidUri", "the line holds no URI")
        parts = urlsplit(
            text.split("?", 1)[0].split("#", 1)[0] if "://" in text and not text.startswith("az://") else text
        )
        match parts.scheme.lower():
            case "http" | "https":
                return self._located(*self._by_endpoint(text), uri=text, quoted=True)
            case "abfs" | "abfss" | "wasb" | "wasbs":
                container, at, host = parts.netloc.partition("@")
                if not at:
                    return self._located(self._default(text), parts.netloc, parts.path, uri=text)
                return self._located(
                    self._by_name(host.split(".", 1)[0], text), container, parts.path, uri=text
                )
            case "az" | "azure":
                bare = text.split("?", 1)[0].split("://", 1)[1]
                container, _, path = bare.partition("/")
                return self._located(self._default(text), container, path, uri=text)
            case "":
                raise AudioUriError("InvalidUri", f"{_shown(text)} is no URI")
            case scheme:
                raise AudioUriError("InvalidUri", f"{_shown(text)}: scheme {scheme}:// is not supported")

    def of_url(self, url: str) -> BlobLocation:
        """The location of a canonical URL that `locate` made."""
        return self.locate(url)

    def _default(self, uri: str) -> StorageAccount:
        if not self.accounts:
            raise AudioUriError("UnknownAccount", f"{_shown(uri)}: no storage account is configured")
        return self.accounts[0]

    def _by_name(self, name: str, uri: str) -> StorageAccount:
        for account in self.accounts:
            if account.name == name:
                return account
        raise AudioUriError(
            "UnknownAccount", f"{_shown(uri)}: account {name} is none of the allowed ones ({self._names()})"
        )

    def _by_endpoint(self, uri: str) -> tuple[StorageAccount, str, str]:
        bare = uri.split("?", 1)[0].split("#", 1)[0]
        host = urlsplit(bare).netloc.lower()
        for account in self.accounts:
            endpoint = urlsplit(account.blob_endpoint)
            prefix = endpoint.path.rstrip("/")
            path = urlsplit(bare).path
            hosts = {endpoint.netloc.lower(), endpoint.netloc.lower().replace(".blob.", ".dfs.", 1)}
            if host in hosts and (not prefix or path.startswith(f"{prefix}/")):
                container, _, rest = path[len(prefix) :].lstrip("/").partition("/")
                return account, container, rest
        raise AudioUriError(
            "UnknownAccount", f"{_shown(uri)}: {host} is none of the allowed accounts ({self._names()})"
        )

    def _names(self) -> str:
        return ", ".join(account.name for account in self.accounts) or "none"

    @staticmethod
    def _located(
        account: StorageAccount, container: str, path: str, *, uri: str, quoted: bool = False
    ) -> BlobLocation:
        clean = unquote(path, errors="strict") if quoted and _is_utf8(path) else path
        clean = clean.lstrip("/")
        if not container:
            raise AudioUriError("InvalidUri", f"{_shown(uri)} names no container")
        if any(step in {".", ".."} for step in clean.split("/")) or "\\" in clean:
            raise AudioUriError("InvalidUri", f"{_shown(uri)}: a path with .. or a backslash is not accepted")
        return BlobLocation(account, container, clean)


def _is_utf8(path: str) -> bool:
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError as error:
        raise AudioUriError("InvalidUri", f"{_shown(path)} is not UTF-8 percent-encoding") from error
    return True


def _shown(uri: str) -> str:
    """*uri* without its query, shortened: fit for a message."""
    bare = uri.split("?", 1)[0]
    return repr(bare if len(bare) <= 200 else bare[:197] + "…")
