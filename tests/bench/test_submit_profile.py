"""Each sample of a submission counts for one step, whatever library was at work."""

from collections import Counter

from bench.submit_profile import IMPORTS, REST, STEPS, by_function, by_step

ENTRY = "submit_everything (bench/submit_profile.py:190);Pipeline.submit (speech_backfill/pipeline.py:95)"
LIST = f"{ENTRY};Poster.post (speech_backfill/post.py:100);Poster._content_urls (speech_backfill/post.py:300)"
SIGN = "StorageAccount._blob_signer.<locals>.sign (speech_backfill/accounts.py:130)"
POST = "SpeechClient.submit (speech_backfill/speech/client.py:130);Connection.submit (speech_backfill/speech/connection.py:165)"
STACKS = Counter(
    {
        f"{LIST};{SIGN};generate_blob_sas (azure/storage/blob/_shared_access_signature.py:700)": 5,
        f"{LIST};{SIGN};_find_and_load (<frozen importlib._bootstrap>:1176)": 4,
        f"{LIST};StorageAccounts.locate (speech_backfill/accounts.py:155);urlsplit (urllib/parse.py:470)": 3,
        f"{LIST};<listcomp> (speech_backfill/post.py:301)": 2,
        f"{ENTRY};{POST};AsyncClient.post (httpx/_client.py:1800);encode_json (httpx/_content.py:177)": 7,
        f"{ENTRY};{POST};AsyncClient.post (httpx/_client.py:1800)": 6,
        "Resources.allow (speech_backfill/ledger/resources.py:200);execute (sqlalchemy/engine/base.py:1400)": 8,
        f"{ENTRY};run (asyncio/runners.py:190)": 1,
    }
)


def test_a_sample_counts_for_the_step_it_was_for():
    sas, place, rest_of_list, _, _, json, http, ledger = list(STEPS)[1:]
    assert by_step(STACKS) == {
        sas: 5,
        IMPORTS: 4,
        place: 3,
        rest_of_list: 2,
        json: 7,
        http: 6,
        ledger: 8,
        REST: 1,
    }


def test_imports_count_for_no_function():
    found = by_function(STACKS)
    assert found.total() == STACKS.total() - 4
    assert found["`sign` in accounts.py"] == 5
    assert found["`submit` in speech/connection.py"] == 13
