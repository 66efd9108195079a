"""Against a real blob service: refusals, missing containers, unusual names."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from azurite import ACCOUNT, KEY
from speech_backfill.accounts import AccountKey, BlobLocation, SasToken, StorageAccount, StorageAccounts
from speech_backfill.errors import SourceNotFound, SourceRefused
from speech_backfill.manifest import container as listing
from speech_backfill.manifest import lookup
from speech_backfill.manifest.lines import ManifestLine
from speech_backfill.manifest.lookup import look_up
from speech_backfill.manifest.source import read_source
from speech_backfill.manifest.unusual import list_unusual
from speech_backfill.model import TranscriptionOptions

pytestmark = pytest.mark.azurite

NAMES = [
    "calls/100% sure #call back.ogg",
    "calls/Überstunden/night ÷ shift.flac",
    "calls/a%20b+c&d.wav",
    "calls/日本語の留守電.OGG",
    "calls/what?.mp3",
    "calls/double//slash.wav",
    "calls/z.wav",
]


@pytest.fixture
def container(azurite):
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient(azurite, credential=KEY) as service:
        yield service.create_container(f"rec-{uuid4().hex}")


@pytest.fixture
def read(azurite):
    def reading(source, credential=AccountKey(KEY)):  # noqa: B008
        accounts = StorageAccounts.of([StorageAccount(ACCOUNT, azurite, credential)])
        lines = read_source(source, accounts=accounts, defaults=TranscriptionOptions())
        return list(look_up(lines, accounts=accounts, max_file_bytes=1000))

    return reading


def _sas(*, hours, read=True, listing=True):
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    now = datetime.now(UTC)
    return SasToken(
        generate_account_sas(
            ACCOUNT,
            KEY,
            ResourceTypes(container=True, object=True),
            AccountSasPermissions(read=read, list=listing),
            now + timedelta(hours=hours),
            start=now - timedelta(hours=3),
        )
    )


def test_every_name_is_listed_and_found_again_by_its_url(container, read):
    for name in NAMES:
        container.upload_blob(name, b"abc")

    listed = read(f"az://{container.container_name}/calls/")
    container.upload_blob("m.txt", "\n".join(line.file.url for line in listed).encode())
    found = read(f"az://{container.container_name}/m.txt")

    assert len(listed) == len(NAMES)
    assert {line.file for line in map(_without_columns, listed)} == {
        line.file for line in map(_without_columns, found)
    }
    assert {line.file.etag for line in listed} == {
        blob.etag.strip('"') for blob in container.list_blobs(name_starts_with="calls/")
    }


def _without_columns(line):
    assert isinstance(line, ManifestLine), line
    from dataclasses import replace

    return replace(line, file=replace(line.file, manifest_columns=()))


def test_missing_blobs_are_refused_and_the_others_found(container, read):
    container.upload_blob("a.wav", b"abc")
    name = container.container_name
    container.upload_blob(
        "m.txt", f"az://{name}/a.wav\naz://{name}/gone.wav\naz://{name}/go//ne.wav\naz://gone/a.wav".encode()
    )

    lines = read(f"az://{name}/m.txt")

    assert [getattr(line, "code", "good") for line in lines] == ["good", *["FileNotFound"] * 3]


@pytest.mark.parametrize("tail", ["/calls/", "/m.csv", "/m.parquet"])
def test_a_missing_container_is_not_found(read, tail):
    with pytest.raises(SourceNotFound):
        read(f"az://no-such-container{tail}")


@pytest.mark.parametrize("tail", ["/", "/m.txt"])
@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (AccountKey("d3Jvbmc="), "the credential of account devstoreaccount1 was refused"),
        (_sas(hours=-1), "the SAS of account devstoreaccount1 expired at"),
        (_sas(hours=1, read=False, listing=False), "the SAS of account devstoreaccount1 was refused"),
    ],
)
def test_refusals_say_why(container, read, tail, credential, said):
    container.upload_blob("m.txt", b"az://rec/a.wav\n")

    with pytest.raises(SourceRefused, match=said) as caught:
        read(f"az://{container.container_name}{tail}", credential)

    assert "sig=" not in str(caught.value)


def test_a_key_that_is_no_key_is_refused(container, read):
    with pytest.raises(SourceRefused, match="not Base64"):
        read(f"az://{container.container_name}/", AccountKey("no base64!"))


def test_a_sas_that_reads_but_does_not_list_is_enough_for_manifests(container, read, monkeypatch):
    monkeypatch.setattr(lookup, "_LISTING_PAYS_FROM", 0)
    container.upload_blob("a.wav", b"abc")
    container.upload_blob("m.txt", f"az://{container.container_name}/a.wav\n".encode())

    (line,) = read(f"az://{container.container_name}/m.txt", _sas(hours=1, listing=False))

    assert line.file.size_bytes == 3


def test_a_refusal_while_looking_up_is_raised(container, azurite):
    container.upload_blob("a.wav", b"abc")
    good, bad = (
        StorageAccounts.of([StorageAccount(ACCOUNT, azurite, AccountKey(key))]) for key in (KEY, "d3Jvbmc=")
    )
    lines = read_source(f"az://{container.container_name}/", accounts=good, defaults=TranscriptionOptions())
    asked = (
        ManifestLine(line.number, type(line.file)(line.file.url), line.options)
        for line in lines
        if isinstance(line, ManifestLine)
    )

    with pytest.raises(SourceRefused):
        list(look_up(asked, accounts=bad, max_file_bytes=10))


def test_a_listing_of_several_pages_goes_on_after_a_name_that_the_client_cannot_hold(
    container, read, monkeypatch
):
    monkeypatch.setattr(listing, "_PAGE", 10)
    names = [f"p/{number:02}.wav" for number in range(25)] + ["p/25//x.wav", "p/26.wav"]
    for name in names:
        container.upload_blob(name, b"abc")

    lines = read(f"az://{container.container_name}/p/")

    assert [line.file.url.rpartition("/p/")[2] for line in lines] == [
        name.removeprefix("p/") for name in names
    ]


def test_the_other_client_goes_on_where_the_first_gave_up(container, azurite):
    for name in ("p/a.wav", "p/b//c.wav", "p/d.wav", "q/e.wav"):
        container.upload_blob(name, b"abc")
    place = BlobLocation(StorageAccount(ACCOUNT, azurite, AccountKey(KEY)), container.container_name, "p")

    assert [one["path"] for one in list_unusual(place, "p", after="p/a.wav")] == ["p/b//c.wav", "p/d.wav"]
