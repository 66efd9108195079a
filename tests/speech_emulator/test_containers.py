"""Source containers that are listed, destination containers that are written to."""

import json

import httpx
import pytest

from speech_emulator.containers import blob_url, blobs
from speech_emulator.recognisers.model import FileFailedError

CONTAINER = "https://acct.blob.core.windows.net/audio?sv=1&sig=s%2Fx"


def listing(names, marker=""):
    found = "".join(
        f"<Blob><Name>{name}</Name><Properties><Content-Length>10</Content-Length></Properties></Blob>"
        for name in names
    )
    return f'<?xml version="1.0"?><EnumerationResults><Blobs>{found}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>'


class Storage:
    """Two pages of blobs, and whatever is put."""

    def __init__(self):
        self.put = {}
        self.listings = 0

    def __call__(self, request):
        assert request.url.params["sig"] == "s/x"
        if request.method == "PUT":
            assert request.headers["x-ms-blob-type"] == "BlockBlob"
            self.put[request.url.path] = json.loads(request.content)
            return httpx.Response(201)
        self.listings += 1
        assert (request.url.params["restype"], request.url.params["comp"]) == ("container", "list")
        if "marker" not in request.url.params:
            return httpx.Response(200, text=listing(["a b.wav", "caf\u00e9/x&amp;y.wav"], "next/1"))
        assert request.url.params["marker"] == "next/1"
        return httpx.Response(200, text=listing(["z.wav"]))


async def test_a_container_is_listed_when_its_transcription_is_processed(service_with):
    storage = Storage()
    service = await service_with(outside=storage)
    made = await service.submit(contentUrls=None, contentContainerUrl=CONTAINER)
    assert storage.listings == 0
    await service.advance(1)
    results = await service.results(made)
    assert set(results) == {"a b.wav.json", "caf\u00e9/x&y.wav.json", "z.wav.json", "report.json"}
    assert results["caf\u00e9/x&y.wav.json"]["source"] == "caf\u00e9/x&y.wav"
    assert (await service.state())["files"] == 3


async def test_results_go_to_the_destination_container_and_stay_there(service_with):
    storage = Storage()
    service = await service_with(outside=storage)
    urls = ["https://acct.blob.core.windows.net/audio/1.wav"]
    made = await service.submit(contentUrls=urls, properties={"destinationContainerUrl": CONTAINER})
    assert "sig=" not in json.dumps(made)
    await service.advance(1)
    identity = made["self"].partition("?")[0].rpartition("/")[2]
    assert set(storage.put) == {f"/audio/{identity}/contenturl_0.json", f"/audio/{identity}/report.json"}
    links = {file["name"]: file["links"]["contentUrl"] for file in await service.files(made)}
    assert (
        links["contenturl_0.json"] == f"https://acct.blob.core.windows.net/audio/{identity}/contenturl_0.json"
    )
    assert links["report.json"] == f"https://acct.blob.core.windows.net/audio/{identity}/report.json"
    refused = await service.get(made["links"]["files"].partition("?")[0], params={"sasLifetimeMinutes": "5"})
    assert refused.json()["innerError"]["code"] == "InvalidSasValidityDuration"


async def test_a_destination_that_refuses_fails_the_files(service_with):
    service = await service_with(outside=lambda _: httpx.Response(403))
    made = await service.submit(properties={"destinationContainerUrl": CONTAINER})
    await service.advance(1)
    shown = await service.shown(made)
    assert (shown["status"], shown["properties"]["error"]["code"]) == (
        "Failed",
        "InaccessibleCustomerStorage",
    )


@pytest.mark.parametrize(
    ("answer", "limits", "code"),
    [
        (httpx.Response(403), {}, "InvalidUri"),
        (httpx.Response(404), {}, "InvalidUri"),
        (httpx.Response(200, text="no xml"), {}, "InvalidUri"),
        (httpx.Response(200, text=listing([])), {}, "InvalidData"),
        (httpx.Response(200, text=listing(["1", "2", "3"])), {"container_blobs": 2}, "QuotaViolation"),
        (httpx.Response(200, text=listing(["1", "2", "3"])), {"container_bytes": 25}, "QuotaViolation"),
    ],
)
async def test_a_container_that_cannot_be_used_fails_its_transcription(service_with, answer, limits, code):
    service = await service_with({"limits": limits}, outside=lambda _: answer)
    made = await service.submit(contentUrls=None, contentContainerUrl=CONTAINER)
    await service.advance(1)
    shown = await service.shown(made)
    assert (shown["status"], shown["properties"]["error"]["code"]) == ("Failed", code)


async def test_a_listing_with_a_document_type_is_refused():
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><EnumerationResults>&b;</EnumerationResults>'
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, text=bomb))
    ) as client:
        with pytest.raises(FileFailedError):
            [blob async for blob in blobs(client, CONTAINER)]


def test_blob_names_are_quoted_into_urls():
    assert blob_url(CONTAINER, "a b/\u00e9?.wav", with_query=False) == (
        "https://acct.blob.core.windows.net/audio/a%20b/%C3%A9%3F.wav"
    )
    assert blob_url(CONTAINER, "x", with_query=True).endswith("/audio/x?sv=1&sig=s%2Fx")
