"""The life of a transcription as its resource shows it."""

import uuid
from datetime import datetime

import pytest

SUBMIT = "/speechtotext/transcriptions:submit"
LIST = "/speechtotext/transcriptions"


async def test_a_submission_is_answered_with_its_place_and_never_shows_its_source(service, submission):
    answer = await service.request("POST", SUBMIT, json=submission(customProperties={"token": "t"}))
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == body["self"]
    uuid.UUID(body["self"].partition("?")[0].rpartition("/")[2])
    assert body["self"].endswith("?api-version=2025-10-15")
    assert body["status"] == "NotStarted"
    assert body["customProperties"] == {"token": "t"}
    assert body["createdDateTime"] == body["lastActionDateTime"]
    assert datetime.fromisoformat(body["createdDateTime"]).microsecond == 0
    assert "sig=" not in answer.text
    assert "apim-request-id" in answer.headers


async def test_the_same_submission_twice_makes_two(service):
    first, second = await service.submit(), await service.submit()
    assert first["self"] != second["self"]
    state = await service.state()
    assert state["accepted"] == 2
    assert state["duplicates"] == {"chunk-1": 2}


async def test_a_transcription_starts_after_its_delay_and_ends(service):
    made = await service.submit()
    assert (await service.shown(made))["status"] == "NotStarted"
    await service.advance(1)
    ended = await service.shown(made)
    assert ended["status"] == "Succeeded"
    assert ended["lastActionDateTime"] > made["createdDateTime"]
    assert ended["properties"]["durationMilliseconds"] > 5000
    assert "error" not in ended["properties"]


async def test_links_work_with_the_prefix_and_the_version_they_were_made_with(service_with):
    service = await service_with(
        {"resources": [{"name": "a", "key": "ka"}, {"name": "b", "key": "kb", "region": "westus"}]}
    )
    headers = {"Ocp-Apim-Subscription-Key": "kb"}
    made = await service.request(
        "POST",
        "/b" + SUBMIT,
        headers=headers,
        params={"api-version": "2024-11-15"},
        json={
            "displayName": "d",
            "locale": "en-US",
            "contentUrls": ["https://x.test/1"],
            "properties": {"timeToLiveHours": 6},
        },
    )
    link = made.json()["self"]
    assert "/b/speechtotext/" in link
    assert "2024-11-15" in link
    assert (await service.get(link, headers=headers)).status_code == 200
    assert (await service.get(link)).status_code == 401
    assert (
        await service.get(link.replace("/b/", "/a/"), headers={"Ocp-Apim-Subscription-Key": "ka"})
    ).status_code == 404


async def test_versions_are_required_and_known(service):
    for version in (None, "v3.2"):
        answer = await service.client.get(
            LIST,
            headers={"Ocp-Apim-Subscription-Key": "local-emulator-key"},
            params={} if version is None else {"api-version": version},
        )
        assert answer.status_code == 400
        assert answer.json()["innerError"]["code"] == "InvalidParameterValue"


async def test_nobody_enters_without_credentials(service):
    answer = await service.get(LIST, headers={"Ocp-Apim-Subscription-Key": "wrong"})
    assert (answer.status_code, answer.json()["code"]) == (401, "Unauthorized")
    token = (await service.client.post("/admin/tokens", json={"lifetime_seconds": 100})).json()[
        "access_token"
    ]
    bearer = {"Ocp-Apim-Subscription-Key": "", "Authorization": f"Bearer {token}"}
    assert (await service.get(LIST, headers=bearer)).status_code == 200
    service.clock.advance(101)
    assert (await service.get(LIST, headers=bearer)).status_code == 401


async def test_wrong_bodies_make_nothing(service):
    for more in ({"content": b"{"}, {"json": {}}, {"json": [1]}, {"content": b""}):
        answer = await service.request("POST", SUBMIT, headers={"Content-Type": "application/json"}, **more)
        assert answer.status_code == 400
        assert answer.json()["innerError"]["code"]
    assert (await service.request("POST", SUBMIT, content=b"x=1")).status_code == 415
    assert (await service.state())["accepted"] == 0


async def test_unknown_paths_and_methods_have_error_bodies(service):
    for method, path, status in (
        ("GET", "/speechtotext/nothing", 404),
        ("PUT", LIST, 405),
        ("GET", "/", 404),
    ):
        answer = await service.request(method, path)
        assert (answer.status_code, "code" in answer.json()) == (status, True)


async def test_what_may_change_changes(service):
    made = await service.submit()
    changes = {"displayName": "new", "description": "why", "customProperties": {"a": "b"}}
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = await service.request("PATCH", made["self"], json=changes, headers=headers)
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in changes} == changes
    assert (await service.request("PATCH", made["self"], json={"locale": "de-DE"})).status_code == 400
    assert (await service.request("PATCH", made["self"], json={"displayName": ""})).status_code == 400
    missing = made["self"].replace(made["self"].partition("?")[0].rpartition("/")[2], str(uuid.uuid4()))
    assert (await service.request("PATCH", missing, json={})).status_code == 404


async def test_an_unfinished_transcription_cannot_be_deleted(service):
    made = await service.submit()
    answer = await service.request("DELETE", made["self"])
    assert answer.status_code == 400
    assert answer.json()["innerError"]["code"] == "DeleteNotAllowed"
    await service.advance(1)
    files = await service.files(made)
    for _ in range(2):
        assert (await service.request("DELETE", made["self"])).status_code == 204
    assert (await service.get(made["self"])).status_code == 404
    assert (await service.client.get(files[0]["links"]["contentUrl"])).status_code == 404
    assert (await service.request("DELETE", f"{LIST}/{uuid.uuid4()}")).status_code == 204


async def test_a_transcription_vanishes_when_its_time_to_live_is_over(service):
    made = await service.submit(properties={"timeToLiveHours": 6})
    await service.advance(100)
    await service.advance(6 * 3600 - 101)
    assert (await service.get(made["self"])).status_code == 200
    await service.advance(101)
    assert (await service.get(made["self"])).status_code == 404
    assert (await service.get(made["links"]["files"])).status_code == 404
    assert (await service.get(LIST)).json()["values"] == []
    assert (await service.state())["accepted"] == 1


async def test_lists_are_paged_by_offset_with_links_that_need_credentials(service_with):
    service = await service_with({"throttle": {"enabled": False}})
    for number in range(205):
        await service.submit(displayName=f"n{number}")
    first = (await service.get(LIST)).json()
    assert len(first["values"]) == 100
    link = first["@nextLink"]
    assert link.startswith("http://speech.test/speechtotext/transcriptions?")
    assert (await service.client.get(link)).status_code == 401
    names = [one["displayName"] for one in first["values"]]
    while link:
        body = (await service.get(link)).json()
        names += [one["displayName"] for one in body["values"]]
        link = body.get("@nextLink")
    assert names == [f"n{number}" for number in range(205)]
    assert "@nextLink" not in body


async def test_deleting_while_paging_skips_entities(service):
    for number in range(6):
        await service.submit(displayName=f"n{number}")
    await service.advance(1)
    page = (await service.get(LIST, params={"top": "3"})).json()
    await service.request("DELETE", page["values"][0]["self"])
    rest = (await service.get(page["@nextLink"])).json()
    assert [one["displayName"] for one in rest["values"]] == ["n4", "n5"]


async def test_filters_are_kept_over_pages(service):
    for number in range(7):
        await service.submit(displayName="odd one" if number % 2 else "even")
    query = {"filter": "displayName eq 'odd one'", "top": "2"}
    page = (await service.get(LIST, params=query)).json()
    rest = (await service.get(page["@nextLink"])).json()
    assert [one["displayName"] for one in page["values"] + rest["values"]] == ["odd one"] * 3


async def test_dates_are_filtered_as_they_are_shown(service):
    made = await service.submit()
    for operator, count in (("ge", 1), ("eq", 1), ("gt", 0), ("lt", 0)):
        query = {"filter": f"createdDateTime {operator} {made['createdDateTime']}"}
        assert len((await service.get(LIST, params=query)).json()["values"]) == count


@pytest.mark.parametrize(
    ("query", "inner"),
    [
        ({"filter": "displayName like 'x'"}, "UnsupportedFilter"),
        ({"top": "0"}, "UnsupportedPagination"),
        ({"skip": "-1"}, "UnsupportedPagination"),
        ({"top": "1001"}, "UnsupportedPagination"),
        ({"top": "many"}, "InvalidParameterValue"),
        ({"orderby": "createdDateTime"}, "UnsupportedOrderBy"),
    ],
)
async def test_wrong_list_parameters_are_refused(service, query, inner):
    answer = await service.get(LIST, params=query)
    assert (answer.status_code, answer.json()["innerError"]["code"]) == (400, inner)


async def test_the_end_of_a_list_can_be_null(service_with):
    service = await service_with({"guesses": {"end_of_list": "null"}})
    assert (await service.get(LIST)).json() == {"values": [], "@nextLink": None}


async def test_pollers_are_told_to_wait_while_there_is_something_to_wait_for(service):
    made = await service.submit()
    assert int((await service.get(made["self"])).headers["retry-after"]) >= 1
    assert int((await service.get(LIST)).headers["retry-after"]) >= 1
    await service.advance(1)
    assert "retry-after" not in (await service.get(made["self"])).headers


async def test_too_many_requests_are_refused_per_resource(service_with):
    service = await service_with({"resources": [{"name": "a", "key": "k"}, {"name": "b", "key": "k"}]})
    headers = {"Ocp-Apim-Subscription-Key": "k"}
    answers = [await service.get(f"/a{LIST}", headers=headers) for _ in range(103)]
    assert [answer.status_code for answer in answers] == [200] * 100 + [429] * 3
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].json()["error"]["code"] == "429"
    assert (await service.get(f"/b{LIST}", headers=headers)).status_code == 200
    service.clock.advance(1)
    assert (await service.get(f"/a{LIST}", headers=headers)).status_code == 200
    assert (await service.state())["resources"]["a"]["throttled"] == 3


async def test_a_429_may_come_without_retry_after_and_in_the_other_shape(service_with):
    throttle = {"requests": 1, "per_seconds": 100, "retry_after": False, "error_shape": "error"}
    service = await service_with({"throttle": throttle})
    await service.get(LIST)
    answer = await service.get(LIST)
    assert (answer.status_code, answer.json()["code"]) == (429, "TooManyRequests")
    assert "retry-after" not in answer.headers


async def test_base_models_can_be_read_and_named(service):
    page = (await service.get("/speechtotext/models/base")).json()
    assert len(page["values"]) == 100
    model = page["values"][0]
    assert (await service.get(model["self"])).json() == model
    english = {"filter": "locale eq 'en-US'"}
    (model,) = (await service.get("/speechtotext/models/base", params=english)).json()["values"]
    made = await service.submit(model={"self": model["self"]})
    assert made["model"] == {"self": model["self"]}
    assert (await service.get("/speechtotext/models")).json()["values"] == []


async def test_locales_can_be_asked_for(service):
    assert "en-US" in (await service.get("/speechtotext/transcriptions/locales")).json()["Submit"]


async def test_unknown_models_can_be_refused(service_with, submission):
    service = await service_with({"guesses": {"check_model": True}})
    model = (await service.get("/speechtotext/models/base")).json()["values"][0]["self"]
    assert (await service.submit(model={"self": model}))["model"]["self"] == model
    unknown = submission(model={"self": "https://x.test/models/base/1"})
    answer = await service.request("POST", SUBMIT, json=unknown)
    assert answer.json()["innerError"]["code"] == "InvalidModel"
