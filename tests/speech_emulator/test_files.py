"""Result files: their list, their links, their bytes."""

import pytest

from speech_emulator.recognisers.synthetic import MARK


def urls(count, query="?sv=1&sig=s"):
    return [f"https://acct.blob.core.windows.net/audio/{number}.wav{query}" for number in range(count)]


async def test_there_are_no_files_before_the_end(service):
    made = await service.submit()
    assert await service.files(made) == []


async def test_there_is_a_result_for_every_file_and_one_report(service):
    made = await service.submit(contentUrls=urls(250))
    await service.advance(1)
    files = await service.files(made)
    assert len(files) == 251
    assert {file["name"] for file in files} == {f"contenturl_{n}.json" for n in range(250)} | {"report.json"}
    assert [file["kind"] for file in files].count("TranscriptionReport") == 1
    names = [file["name"] for file in files]
    assert names != sorted(names)
    assert names != [f"contenturl_{n}.json" for n in range(250)]


async def test_results_name_their_source_and_say_that_they_are_synthetic(service):
    made = await service.submit(contentUrls=urls(2))
    await service.advance(1)
    results = await service.results(made)
    assert results["contenturl_1.json"]["source"] == urls(2)[1]
    phrases = results["contenturl_1.json"]["recognizedPhrases"]
    assert phrases
    assert all(phrase["nBest"][0]["display"].startswith(MARK) for phrase in phrases)
    assert results["report.json"] == {
        "successfulTranscriptionsCount": 2,
        "failedTranscriptionsCount": 0,
        "details": [{"source": url, "status": "Succeeded"} for url in urls(2)],
    }


async def test_the_same_url_says_the_same_whatever_its_sas(service):
    one = await service.submit(contentUrls=urls(1))
    two = await service.submit(contentUrls=urls(1, "?sig=other"))
    await service.advance(1)
    await service.advance(1)
    first, second = [(await service.results(made))["contenturl_0.json"] for made in (one, two)]
    assert first["recognizedPhrases"] == second["recognizedPhrases"]
    assert first["source"] != second["source"]


async def test_sizes_are_true(service):
    made = await service.submit(contentUrls=urls(3))
    await service.advance(1)
    for file in await service.files(made):
        content = (await service.client.get(file["links"]["contentUrl"])).content
        assert len(content) == file["properties"]["size"]


async def test_a_listed_file_is_not_rendered_again_for_its_download(service, monkeypatch):
    rendered = []
    again = service.emulator.recogniser.again
    monkeypatch.setattr(
        service.emulator.recogniser, "again", lambda url, asked: rendered.append(url) or again(url, asked)
    )
    made = await service.submit(contentUrls=urls(3))
    await service.advance(1)
    rendered.clear()
    await service.results(made)
    await service.results(made)
    assert sorted(rendered) == urls(3)


async def test_no_more_is_kept_of_what_was_rendered_than_a_bound(service, monkeypatch):
    monkeypatch.setattr("speech_emulator.results._KEPT_BYTES", 10_000)
    made = await service.submit(contentUrls=urls(30))
    await service.advance(1)
    first = await service.results(made)
    kept = service.emulator.results._kept._contents
    assert 0 < sum(map(len, kept.values())) <= 10_000
    assert await service.results(made) == first


@pytest.mark.parametrize(
    ("asked", "status", "part", "says"),
    [
        ({"Range": "bytes=0-9"}, 206, slice(0, 10), "bytes 0-9/{size}"),
        ({"x-ms-range": "bytes=10-19"}, 206, slice(10, 20), "bytes 10-19/{size}"),
        ({"Range": "bytes=10-"}, 206, slice(10, None), "bytes 10-{last}/{size}"),
        ({"x-ms-range": "bytes=0-33554431"}, 206, slice(0, None), "bytes 0-{last}/{size}"),
        ({"Range": "bytes=-5"}, 200, slice(0, None), None),
        ({"Range": "lines=1-2"}, 200, slice(0, None), None),
    ],
)
async def test_a_part_of_a_file_is_given_to_whoever_asks_for_one(service, asked, status, part, says):
    made = await service.submit()
    await service.advance(1)
    link = (await service.files(made))[0]["links"]["contentUrl"]
    whole = (await service.client.get(link)).content
    answer = await service.client.get(link, headers=asked)
    assert answer.status_code == status
    assert answer.content == whole[part]
    said = says and says.format(size=len(whole), last=len(whole) - 1)
    assert answer.headers.get("Content-Range") == said


async def test_a_part_behind_the_end_of_a_file_is_refused(service):
    made = await service.submit()
    await service.advance(1)
    link = (await service.files(made))[0]["links"]["contentUrl"]
    answer = await service.client.get(link, headers={"Range": "bytes=1000000-"})
    assert answer.status_code == 416
    assert answer.headers["x-ms-error-code"] == "InvalidRange"


async def test_a_link_opens_by_its_sas_alone_until_it_expires(service):
    made = await service.submit()
    await service.advance(1)
    link = (await service.files(made))[0]["links"]["contentUrl"]
    assert (await service.client.get(link)).status_code == 200
    for headers in ({"Ocp-Apim-Subscription-Key": "local-emulator-key"}, {"Authorization": "Bearer x"}):
        assert (await service.client.get(link, headers=headers)).status_code == 403
    assert (await service.client.get(link.partition("?")[0])).status_code == 404
    assert (await service.client.get(link.replace("sig=", "sig=A"))).status_code == 403
    await service.advance(12 * 3600 - 10)
    assert (await service.client.get(link)).status_code == 200
    await service.advance(20)
    expired = await service.client.get(link)
    assert expired.status_code == 403
    assert "AuthenticationFailed" in expired.text
    fresh = (await service.files(made))[0]["links"]["contentUrl"]
    assert (await service.client.get(fresh)).status_code == 200


async def test_the_life_of_a_link_can_be_chosen(service):
    made = await service.submit()
    await service.advance(1)
    path = made["links"]["files"].partition("?")[0]
    answer = await service.get(path, params={"sasLifetimeMinutes": "5"})
    link = answer.json()["values"][0]["links"]["contentUrl"]
    await service.advance(301)
    assert (await service.client.get(link)).status_code == 403
    for wrong in ("0", "-1", "x", str(10**7)):
        assert (await service.get(path, params={"sasLifetimeMinutes": wrong})).status_code == 400


async def test_the_life_of_a_link_is_kept_over_pages(service):
    made = await service.submit(contentUrls=urls(3))
    await service.advance(1)
    path = made["links"]["files"].partition("?")[0]
    page = (await service.get(path, params={"sasLifetimeMinutes": "5", "top": "2"})).json()
    link = (await service.get(page["@nextLink"])).json()["values"][0]["links"]["contentUrl"]
    await service.advance(301)
    assert (await service.client.get(link)).status_code == 403


async def test_files_can_be_filtered_and_read_one_by_one(service):
    made = await service.submit(contentUrls=urls(3))
    await service.advance(1)
    path = made["links"]["files"].partition("?")[0]
    query = {"filter": "name eq 'contenturl_2.json' and kind eq 'Transcription'"}
    (found,) = (await service.get(path, params=query)).json()["values"]
    again = (await service.get(found["self"])).json()
    assert (again["name"], again["self"]) == (found["name"], found["self"])
    assert (await service.get(f"{path}/00000000-0000-0000-0000-000000000000")).status_code == 404


async def test_milliseconds_and_queries_can_be_left_out(service_with):
    service = await service_with({"guesses": {"result_milliseconds": False, "source_with_query": False}})
    made = await service.submit(contentUrls=urls(1))
    await service.advance(1)
    result = (await service.results(made))["contenturl_0.json"]
    assert result["source"] == urls(1, "")[0]
    assert not any("Milliseconds" in key for key in [*result, *result["recognizedPhrases"][0]])


async def test_a_result_belongs_to_its_resource(service_with):
    service = await service_with(
        {"resources": [{"name": "a", "key": "local-emulator-key"}, {"name": "b", "key": "k"}]}
    )
    made = await service.submit()
    await service.advance(1)
    link = (await service.files(made))[0]["links"]["contentUrl"]
    assert (await service.client.get(link.replace("/blob/a/", "/blob/b/"))).status_code == 403
