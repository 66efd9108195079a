import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speech_backfill.accounts import AccountKey, StorageAccount, StorageAccounts
from speech_backfill.errors import AudioUriError
from speech_backfill.manifest.urls import CanonicalUrls

ACCOUNTS = StorageAccounts.of(
    [
        StorageAccount("one", "https://one.blob.core.windows.net", AccountKey("a2V5")),
        StorageAccount("devstoreaccount1", "http://127.0.0.1:1/devstoreaccount1", AccountKey("a2V5")),
    ]
)
_starts = st.sampled_from(
    [
        "https://one.blob.core.windows.net/c",
        "http://127.0.0.1:1/devstoreaccount1/c",
        "https://other.blob.core.windows.net/c",
        "abfss://c@one.dfs.core.windows.net",
        "abfs://c",
        "az://c",
        "AZ://c",
        "c",
        "",
    ]
)
_letters = st.sampled_from([*"ab.?#%/&=+@: \\\t~Ü[]", "..", "%2F", "%2E", "%3F", "%FF", "//", "wav"])
_names = st.lists(_letters, max_size=4).map("".join)
_uris = st.builds(lambda start, steps: "/".join([start, *steps]), _starts, st.lists(_names, max_size=3))


def _meaning(uri):
    """The canonical URL by `locate` itself, None for what is no blob."""
    try:
        place = ACCOUNTS.locate(uri)
        return place.url if place.path and not place.path.endswith("/") else None
    except ValueError:
        return None
    except AudioUriError:
        return None


@given(st.lists(_uris, min_size=1, max_size=12))
@example(
    ["https://one.blob.core.windows.net/c/b.wav?/b.wav", "https://one.blob.core.windows.net/c/b.wav?/a.wav"]
)
@example(["az://c/a#b/c", "az://c/a#b/d"])
@example(
    ["https://one.blob.core.windows.net/c/b.wav#/b.wav", "https://one.blob.core.windows.net/c/b.wav#/a.wav"]
)
@example(["az://c/a.wav", "az://c/b.wav?x\ty"])
@example(["https://one.blob.core.windows.net/c/a", "https://one.blob.core.windows.net/c/.."])
@example(["abfss://c@one.dfs.core.windows.net/x#/a", "abfss://c@one.dfs.core.windows.net/x#/b"])
def test_remembering_folders_changes_no_url(uris):
    urls = CanonicalUrls(ACCOUNTS)
    for uri in uris * 2:
        try:
            url = urls.of(uri)
        except AudioUriError:
            url = None

        assert url == _meaning(uri), uri


@given(
    st.lists(st.text(string.ascii_letters + "._-", min_size=1), min_size=2),
    st.sampled_from(["", "?sig=x", "? "]),
)
def test_names_of_one_folder_are_what_locate_says(names, query):
    urls = CanonicalUrls(ACCOUNTS)
    for name in names:
        uri = f"az://c/folder/{name}{query}"
        if name not in {".", ".."}:
            assert urls.of(uri) == ACCOUNTS.locate(uri).url


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "az://c",
        "az://c/",
        "az://c/folder/",
        "http://[x/c/a.wav",
        "az://c/a/../b.wav",
        "call.wav",
        "az://c/\ud800",
    ],
)
def test_what_names_no_blob_is_an_invalid_uri(uri):
    with pytest.raises(AudioUriError) as caught:
        CanonicalUrls(ACCOUNTS).of(uri)

    assert caught.value.code == "InvalidUri"


def test_the_memory_of_folders_is_bounded():
    urls = CanonicalUrls(ACCOUNTS)
    for number in range(10_000):
        urls.of(f"az://c/{number}/a.wav")

    assert len(urls._folders) <= 4096
