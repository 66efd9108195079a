"""Every kind of fault, seen from the client's side."""

import httpx
import pytest

SUBMIT = "/speechtotext/transcriptions:submit"
LIST = "/speechtotext/transcriptions"
URLS = [f"https://acct.blob.core.windows.net/audio/{name}.wav?sig=s" for name in ("good", "bad", "gone")]


async def ended(service, **changes):
    made = await service.submit(**changes)
    await service.advance(1)
    return made


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 401])
@pytest.mark.parametrize("body", ["error", "gateway", "text", "html", "empty"])
async def test_a_status_is_answered_instead_of_the_operation(service, submission, status, body):
    await service.fault("http_status", operation="submit", status=status, body=body, retry_after=7, times=1)
    answer = await service.request("POST", SUBMIT, json=submission())
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")
    if body in {"error", "gateway"}:
        assert ("error" in answer.json()) == (body == "gateway")
    else:
        with pytest.raises(ValueError):
            answer.json()
    assert (await service.state())["accepted"] == 0
    assert (await service.request("POST", SUBMIT, json=submission())).status_code == 201


async def test_a_dropped_connection_does_nothing(service, submission):
    await service.fault("connection_reset", operation="submit", nth=[1])
    with pytest.raises(ConnectionResetError):
        await service.request("POST", SUBMIT, json=submission())
    assert (await service.state())["accepted"] == 0


async def test_an_answer_can_be_lost_after_the_work_was_done(service, submission):
    await service.fault("answer_lost", operation="submit", nth=[1])
    await service.fault("answer_lost", operation="submit", nth=[2], how="status", status=502, body="html")
    with pytest.raises(ConnectionResetError):
        await service.request("POST", SUBMIT, json=submission())
    assert (await service.request("POST", SUBMIT, json=submission())).status_code == 502
    assert (await service.state())["accepted"] == 2


async def test_an_expired_token_is_refused_until_another_is_used(service):
    tokens = [(await service.client.post("/admin/tokens")).json()["access_token"] for _ in range(2)]
    old, new = ({"Ocp-Apim-Subscription-Key": "", "Authorization": f"Bearer {token}"} for token in tokens)
    assert (await service.get(LIST, headers=old)).status_code == 200
    await service.fault("token_expired", times=1)
    assert (await service.get(LIST, headers=old)).status_code == 401
    assert (await service.get(LIST, headers=old)).status_code == 401
    assert (await service.get(LIST, headers=new)).status_code == 200


async def test_a_new_transcription_can_be_late_in_lists(service):
    await service.fault("list_lag", seconds=30, match="late")
    late = await service.submit(displayName="late")
    await service.submit(displayName="prompt")
    shown = (await service.get(LIST)).json()["values"]
    assert [one["displayName"] for one in shown] == ["prompt"]
    assert (await service.get(late["self"])).status_code == 200
    await service.advance(30)
    assert len((await service.get(LIST)).json()["values"]) == 2


async def test_a_filter_can_be_ignored(service):
    await service.submit(displayName="a")
    await service.submit(displayName="b")
    query = {"filter": "displayName eq 'a'"}
    await service.fault("filter_ignored", times=1)
    assert len((await service.get(LIST, params=query)).json()["values"]) == 2
    assert len((await service.get(LIST, params=query)).json()["values"]) == 1


async def test_items_can_be_missing_from_a_page(service):
    for number in range(4):
        await service.submit(displayName=str(number))
    await service.fault("items_skipped", count=1, nth=[2])
    page = (await service.get(LIST, params={"top": "2"})).json()
    rest = (await service.get(page["@nextLink"])).json()
    assert [one["displayName"] for one in page["values"] + rest["values"]] == ["0", "1", "3"]


async def test_files_fail_by_pattern_and_the_rest_succeed(service):
    await service.fault("files_fail", files="*/bad.wav", error_kind="Timeout", error_message="too slow")
    made = await ended(service, contentUrls=URLS)
    assert (await service.shown(made))["status"] == "Succeeded"
    results = await service.results(made)
    assert set(results) == {"contenturl_0.json", "contenturl_2.json", "report.json"}
    assert results["report.json"]["failedTranscriptionsCount"] == 1
    detail = {"source": URLS[1], "status": "Failed", "errorKind": "Timeout", "errorMessage": "too slow"}
    assert detail in results["report.json"]["details"]


async def test_when_all_files_fail_so_does_the_transcription_with_a_report(service):
    await service.fault("files_fail", error_kind="InvalidUri", error_message="gone")
    made = await ended(service, contentUrls=URLS)
    shown = await service.shown(made)
    assert shown["status"] == "Failed"
    assert shown["properties"]["error"] == {"code": "InvalidUri", "message": "The recordings URI is invalid."}
    assert (await service.results(made))["report.json"]["failedTranscriptionsCount"] == 3


async def test_a_file_can_be_missing_from_report_and_results(service):
    await service.fault("files_lost", files="*/gone.wav")
    results = await service.results(await ended(service, contentUrls=URLS))
    assert set(results) == {"contenturl_0.json", "contenturl_1.json", "report.json"}
    assert [detail["source"] for detail in results["report.json"]["details"]] == URLS[:2]


async def test_a_report_can_be_missing(service):
    await service.fault("report_missing")
    assert set(await service.results(await ended(service, contentUrls=URLS[:1]))) == {"contenturl_0.json"}


async def test_a_transcription_can_fail_as_a_whole_and_cost_nothing(service):
    await service.fault("fails_whole", code="Internal", message="broken", times=1)
    made = await ended(service, contentUrls=URLS)
    shown = await service.shown(made)
    assert (shown["status"], shown["properties"]["error"]["code"]) == ("Failed", "Internal")
    assert (await service.state())["billed_audio_seconds"] == 0
    assert (await service.results(made))["report.json"]["failedTranscriptionsCount"] == 3


async def test_a_transcription_can_be_late(service):
    await service.fault("delayed", seconds=500)
    made = await ended(service)
    await service.advance(498)
    assert (await service.shown(made))["status"] == "Running"
    await service.advance(3)
    assert (await service.shown(made))["status"] == "Succeeded"


async def test_a_transcription_can_be_purged_early(service):
    await service.fault("purged_early", seconds=60)
    made = await ended(service)
    assert (await service.shown(made))["status"] == "Succeeded"
    await service.advance(60)
    assert (await service.get(made["self"])).status_code == 404
    assert (await service.state())["billed_audio_seconds"] > 0


async def link(service, name="contenturl_0.json"):
    made = await ended(service, contentUrls=URLS[:1])
    return made, next(f["links"]["contentUrl"] for f in await service.files(made) if f["name"] == name)


async def test_a_result_can_be_absent_at_first(service):
    _, url = await link(service)
    await service.fault("result_not_found", first=2, match="contenturl_*")
    assert [(await service.client.get(url)).status_code for _ in range(4)] == [404, 404, 200, 200]


async def test_a_sas_can_expire_in_mid_download(service):
    made, url = await link(service)
    await service.fault("result_expires", nth=[1])
    with pytest.raises(ConnectionResetError):
        await service.client.get(url)
    assert (await service.client.get(url)).status_code == 403
    service.clock.advance(1)
    fresh = [file["links"]["contentUrl"] for file in await service.files(made)]
    assert [(await service.client.get(one)).status_code for one in fresh] == [200, 200]


@pytest.mark.parametrize("how", ["not_json", "not_utf8", "wrong_shape"])
async def test_a_result_can_be_corrupt(service, how):
    _, url = await link(service)
    await service.fault("result_corrupt", how=how, nth=[1])
    answer = await service.client.get(url)
    assert answer.status_code == 200
    if how == "wrong_shape":
        assert "recognizedPhrases" not in answer.json()
    else:
        with pytest.raises(ValueError):
            answer.json()
    assert "recognizedPhrases" in (await service.client.get(url)).json()


async def test_a_result_can_be_truncated(service):
    _, url = await link(service)
    await service.fault("result_truncated", nth=[1])
    await service.fault("result_truncated", how="connection", nth=[2])
    with pytest.raises(ValueError):
        (await service.client.get(url)).json()
    with pytest.raises(ConnectionResetError):
        await service.client.get(url)


async def test_downloads_can_fail_like_any_request(service):
    _, url = await link(service)
    await service.fault("http_status", operation="download", status=503, body="empty", nth=[1])
    assert [(await service.client.get(url)).status_code for _ in range(2)] == [503, 200]


async def test_faults_can_come_with_the_configuration(service_with, submission):
    service = await service_with(
        {"faults": [{"kind": "http_status", "status": 500, "operation": "submit", "times": 1}]}
    )
    answers = [await service.request("POST", SUBMIT, json=submission()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 201]


async def test_rules_are_shown_with_their_counters_and_lifted(service):
    await service.fault("slow", seconds=0, id="mine", operation="list")
    await service.get(LIST)
    (rule,) = (await service.client.get("/admin/faults")).json()["values"]
    assert (rule["id"], rule["kind"], rule["seen"], rule["fired"]) == ("mine", "slow", 1, 1)
    assert (await service.client.delete("/admin/faults/mine")).status_code == 204
    assert (await service.client.get("/admin/faults")).json()["values"] == []
    assert (await service.client.post("/admin/faults", json={"kind": "unheard_of"})).status_code == 400


async def test_admin_operations_answer_neighbours_only_unless_a_token_is_configured(service_with):
    service = await service_with()
    far = httpx.AsyncClient(
        transport=httpx.ASGITransport(service.client._transport.app, client=("203.0.113.9", 1)),
        base_url="http://x",
    )
    async with far:
        assert (await far.get("/admin/state")).status_code == 403
        assert (await far.get("/health")).status_code == 200
    guarded = await service_with({"server": {"admin_token": "t0ken"}})
    assert (await guarded.client.get("/admin/state")).status_code == 401
    headers = {"Authorization": "Bearer t0ken"}
    assert (await guarded.client.get("/admin/state", headers=headers)).status_code == 200


async def test_a_reset_forgets_everything(service):
    await ended(service)
    await service.fault("connection_reset")
    assert (await service.client.post("/admin/reset")).status_code == 204
    state = await service.state()
    assert (state["accepted"], state["faults"], state["requests"]) == (0, [], {})


async def test_a_transcription_can_be_purged_by_hand(service):
    made = await ended(service)
    identity = made["self"].partition("?")[0].rpartition("/")[2]
    assert (await service.client.post(f"/admin/transcriptions/{identity}:purge")).status_code == 204
    assert (await service.get(made["self"])).status_code == 404


async def test_a_refusal_of_any_kind_can_be_acted(service, submission):
    rule = {"operation": "submit", "status": 400, "code": "InvalidRequest", "inner": "InvalidSubscription"}
    await service.fault("http_status", **rule)
    answer = await service.request("POST", SUBMIT, json=submission())
    assert (answer.json()["code"], answer.json()["innerError"]["code"]) == (
        "InvalidRequest",
        "InvalidSubscription",
    )


async def test_a_reset_fills_the_request_limit(service_with):
    service = await service_with({"throttle": {"requests": 1}})
    assert [(await service.get(LIST)).status_code for _ in range(2)] == [200, 429]
    await service.client.post("/admin/reset")
    assert (await service.get(LIST)).status_code == 200
