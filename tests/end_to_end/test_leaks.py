"""No key and no SAS in anything that a whole run has written, manifests with SAS in their URIs included."""

from __future__ import annotations

import pytest

from azurite import KEY
from end_to_end.deployment import Deployment
from end_to_end.leaks import Written, everything, leaks
from local import azurite
from local.stack import RECORDINGS_CONTAINER

pytestmark = [pytest.mark.airflow, pytest.mark.azurite]

MANIFEST = "speech_backfill_manifest"
RECOGNISABLE = "VGhpcyBpcyBhIHNpZ25hdHVyZSB0aGF0IG11c3Qgbm90IGxlYWs="
SAS = f"sv=2024-11-04&se=2030-01-01T00%3A00%3A00Z&sr=b&sp=r&sig={RECOGNISABLE.replace('=', '%3D')}"


def test_a_run_over_a_manifest_with_sas_leaves_no_secret_behind(deployment: Deployment):
    """One file is transcribed, one fails with its URL in the message, one line is refused, one names a foreign account."""
    account = azurite.endpoint(deployment.stack.ports.azurite)
    lines = [
        "uri,etag,size_bytes,duration_ms,note",
        f"{account}/{RECORDINGS_CONTAINER}/leaks/fine.wav?{SAS},e1,32000,2000,fine",
        f"{account}/{RECORDINGS_CONTAINER}/leaks/bad.wav?{SAS},e1,32000,2000,bad",
        f"{account}/{RECORDINGS_CONTAINER}/leaks/../up.wav?{SAS},e1,32000,2000,refused",
        f"https://foreign.blob.core.windows.net/a/b.wav?{SAS},e1,32000,2000,foreign",
        f"not a uri?{SAS},e1,32000,2000,no uri",
    ]
    deployment.upload("leaks/manifest.csv", content="\n".join(lines).encode())
    deployment.add_fault(kind="files_fail", files="*leaks/bad.wav", error_kind="InvalidData")
    deployment.add_fault(kind="answer_lost", operation="submit", times=1)

    run = deployment.trigger(
        MANIFEST, source=f"az://{RECORDINGS_CONTAINER}/leaks/manifest.csv", partition="leaks"
    )

    assert deployment.ended(MANIFEST, run) == "success"
    outcomes = deployment.table("outcomes", "leaks")
    assert sorted(outcomes["outcome"]) == ["failed", "failed", "failed", "failed", "transcribed"]
    secrets = {
        "the Speech key": deployment.stack.keys.speech_key,
        "the storage key": KEY,
        "the manifest's signature": RECOGNISABLE,
        "the login": deployment.stack.keys.admin_password,
    }
    written = list(everything(deployment))
    searched = {one.where.split(" ")[0].split("/")[0] for one in written}
    assert {"table", "store", "page", "airflow", "logs", "ledger.sqlite"} <= searched
    assert leaks(written, secrets) == []


@pytest.mark.parametrize(
    "content",
    [
        b'{"url": "https://a/b?sv=1&sig=VGhpcyBpcyBhIHNpZ25hdHVyZSB0aGF0"}',
        b"sig=VGhpcyBpcyBh%2BIHNpZ25hdHVyZQ%3D%3D",
        b"Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpX",
        b"the key is a/key+with=signs",
        b"the key is a%2Fkey%2Bwith%3Dsigns",
    ],
)
def test_a_secret_is_seen_however_it_is_written(content: bytes):
    assert len(leaks([Written("a file", content)], {"the key": "a/key+with=signs"})) == 1
