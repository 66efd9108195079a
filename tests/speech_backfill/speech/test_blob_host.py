"""Downloads over real sockets from a host that says whatever a host can say."""

import asyncio
import gzip
import logging
import ssl
import traceback
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from fakes.raw_http import close, hang, head, ok, raw_server, reset
from fakes.speech_service import FakeSpeechService
from speech_backfill.collect import Collector, Fetched, Unavailable
from speech_backfill.speech.api import ResultEntry
from speech_backfill.speech.client import SpeechClient
from speech_backfill.speech.connection import Timeouts
from speech_backfill.speech.errors import (
    NotSent,
    ResultExpired,
    ResultNotFound,
    ResultTooLarge,
    ServiceUnavailable,
    SpeechServiceError,
    Throttled,
    UnreadableAnswer,
)
from speech_backfill.speech.results import ResultDownloads

SIGNATURE = "a%2Bsignature%2Fthat%3Dmust-not-leak"
SHORT = Timeouts(connect_seconds=0.3, download_seconds=0.3)


@pytest.fixture
async def host():
    async with raw_server() as server:
        yield server


@pytest.fixture
async def downloads():
    async with opened() as one:
        yield one


@asynccontextmanager
async def opened(**settings):
    one = ResultDownloads("speech", **({"timeouts": SHORT} | settings))
    try:
        yield one
    finally:
        await one.aclose()


def link(host, name="contenturl_0.json", scheme="http"):
    return f"{scheme}://127.0.0.1:{host.port}/results/{name}?se=2030&sig={SIGNATURE}"


async def failure(downloads, url, caplog):
    """What a download ends with, after a look whether it shows the signature to anyone."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    with pytest.raises(SpeechServiceError) as caught:
        async with asyncio.timeout(20):
            await downloads.fetch(url)
    assert caught.value.__context__ is None, "a cause may quote the URL"
    for text in ("".join(traceback.format_exception(caught.value)), repr(caught.value), caplog.text):
        assert "must-not-leak" not in text
    return caught.value


async def test_many_files_come_over_one_connection(host, downloads):
    for number in range(20):
        host.says(ok(b"x" * number))

    bodies = [await downloads.fetch(link(host)) for _ in range(20)]

    assert bodies == [b"x" * number for number in range(20)]
    assert host.connections == 1


async def test_large_files_come_whole(host, downloads):
    body = bytes(range(256)) * 40_000
    host.says(ok(body))

    assert await downloads.fetch(link(host)) == body


async def test_the_link_goes_out_as_it_is_and_nothing_with_it(host, downloads, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    host.says(ok(b"{}", Set_Cookie="from=the-host"))

    await downloads.fetch(link(host))
    await downloads.fetch(link(host))

    for request in host.requests:
        first, *rest = request.split("\r\n")
        assert first == f"GET /results/contenturl_0.json?se=2030&sig={SIGNATURE} HTTP/1.1"
        sent = {line.partition(":")[0].lower() for line in rest if line}
        assert sent <= {"host", "accept", "accept-encoding", "user-agent"}


async def test_what_no_url_may_hold_is_encoded(host, downloads):
    host.says(ok(b"{}"))

    await downloads.fetch(link(host, name='Grüße "1"\r\nX: y.json'))

    assert host.requests[0].startswith("GET /results/Gr%C3%BC%C3%9Fe%20%221%22%0D%0AX:%20y.json?se=2030&sig=")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ResultExpired),
        (403, ResultExpired),
        (404, ResultNotFound),
        (429, Throttled),
        (408, ServiceUnavailable),
        (500, ServiceUnavailable),
        (503, ServiceUnavailable),
        (504, ServiceUnavailable),
        (204, UnreadableAnswer),
        (206, UnreadableAnswer),
        (304, UnreadableAnswer),
        (400, UnreadableAnswer),
        (410, UnreadableAnswer),
    ],
)
async def test_every_status_has_its_error(host, downloads, caplog, status, error):
    host.says(head(status, {"Content-Length": "0"}))

    assert type(await failure(downloads, link(host), caplog)) is error
    assert len(host.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(host, downloads, caplog, status):
    host.says(head(status, {"Location": link(host, "elsewhere"), "Content-Length": "0"}))

    error = await failure(downloads, link(host), caplog)

    assert type(error) is UnreadableAnswer
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (reset,),
        (close,),
        (head(200, {"Content-Length": "100"}), b"half", reset),
        (head(200, {"Content-Length": "100"}), b"half", close),
        (head(200, {"Transfer-Encoding": "chunked"}), b"4\r\nhalf\r\n", close),
        (head(200, {"Transfer-Encoding": "chunked"}), b"no chunk at all\r\n", close),
        (ok(b"this was never packed", Content_Encoding="gzip"),),
        (b"HTTP/1.1 200 OK\r\nContent-Le", close),
        (b"this is no HTTP\r\n\r\n", close),
        (hang,),
        (head(200, {"Content-Length": "100"}), b"half", hang),
    ],
    ids=[
        "reset before the head",
        "closed before the head",
        "reset within the body",
        "closed within the body",
        "closed between chunks",
        "no chunk",
        "not packed",
        "half a head",
        "no HTTP",
        "no head comes",
        "the body stops",
    ],
)
async def test_an_answer_that_breaks_off_is_asked_for_once_and_never_taken_for_whole(
    host, downloads, caplog, answer
):
    host.says(*answer)

    error = await failure(downloads, link(host), caplog)

    assert type(error) is ServiceUnavailable
    assert len(host.requests) == 1
    assert "_" not in str(error)  # it names no class of ours


async def test_a_connection_that_never_stands_has_sent_nothing(host, downloads, caplog):
    host.says(hang)
    async with raw_server() as gone:
        pass

    for url in (
        link(gone),
        f"http://nowhere.invalid/a?sig={SIGNATURE}",
        link(host, scheme="https"),  # waits for a handshake that nobody answers
    ):
        assert type(await failure(downloads, url, caplog)) is NotSent, url

    assert host.requests == []


async def test_a_host_with_a_certificate_of_its_own_making_is_not_spoken_to(downloads, tmp_path, caplog):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    async with raw_server(context) as host:
        host.says(ok(b"{}"))

        assert type(await failure(downloads, link(host, scheme="https"), caplog)) is NotSent

    assert host.requests == []


def self_signed(folder):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "results/contenturl_0.json",
        "//127.0.0.1/a",
        "http:///a",
        "http://[bad/a",
        "http://127.0.0.1:port/a",
        "ftp://127.0.0.1/a",
        "file:///etc/passwd",
    ],
)
async def test_a_link_that_is_no_web_address_is_told_from_trouble_of_the_network(downloads, caplog, url):
    assert (
        type(await failure(downloads, f"{url}?sig={SIGNATURE}" if url else url, caplog)) is UnreadableAnswer
    )


async def test_a_file_of_just_the_bound_is_read(host):
    async with opened(max_bytes=1000) as downloads:
        host.says(ok(b"x" * 1000))

        assert len(await downloads.fetch(link(host))) == 1000


async def test_a_file_beyond_the_bound_is_not_begun(host, caplog):
    async with opened(max_bytes=1000) as downloads:
        host.says(head(200, {"Content-Length": "1001"}), hang)

        assert type(await failure(downloads, link(host), caplog)) is ResultTooLarge


async def test_a_file_that_never_ends_is_left_at_the_bound(host, caplog):
    sent = 0

    async def endless(_reader, writer):
        nonlocal sent
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000

    async with opened(max_bytes=1_000_000) as downloads:
        host.says(head(200, {"Transfer-Encoding": "chunked"}), endless)

        assert type(await failure(downloads, link(host), caplog)) is ResultTooLarge

    assert sent < 32_000_000  # what both ends' sockets may hold


async def test_a_packed_file_is_unpacked_up_to_the_bound(host, caplog):
    async with opened(max_bytes=1_000_000) as downloads:
        host.says(ok(gzip.compress(b"x" * 1_000_000), Content_Encoding="gzip"))
        host.says(ok(gzip.compress(b"x" * 10_000_000), Content_Encoding="gzip"))

        assert await downloads.fetch(link(host)) == b"x" * 1_000_000
        assert type(await failure(downloads, link(host), caplog)) is ResultTooLarge


@pytest.mark.parametrize("setting", ["http_proxy=http://", "http_proxy=", "all_proxy=http://"])
async def test_the_proxy_of_the_environment_is_used_but_not_for_hosts_excepted_from_it(
    host, downloads, monkeypatch, caplog, setting
):
    variable, _, scheme = setting.partition("=")
    monkeypatch.setenv(variable, f"{scheme}somebody:something@127.0.0.1:{host.port}")
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    host.says(ok(b"by proxy"))

    assert await downloads.fetch(f"http://results.example/a?sig={SIGNATURE}") == b"by proxy"
    assert type(await failure(downloads, f"http://nowhere.invalid/a?sig={SIGNATURE}", caplog)) is NotSent

    (request,) = host.requests
    assert request.startswith(f"GET http://results.example/a?sig={SIGNATURE} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic c29tZWJvZHk6c29tZXRoaW5n" in request
    assert "\r\nAuthorization:" not in request


@asynccontextmanager
async def collector(*, concurrency):
    service = FakeSpeechService()
    settings = {"clock": service.clock, "transport": service.transport(), "sleep": service.clock.sleep}
    async with SpeechClient(service.resource(), **settings) as client:
        yield Collector(client, "an-id", concurrency=concurrency)


def entries(host, count):
    return [
        ResultEntry(name=f"{number}.json", kind="Transcription", content_url=link(host, f"{number}.json"))
        for number in range(count)
    ]


async def test_results_keep_their_order_over_few_connections_whatever_becomes_of_some(host):
    async def named(_reader, writer):
        name = host.requests[-1].split("?")[0].rsplit("/", 1)[1]
        writer.write(head(404, {"Content-Length": "0"}) if name == "7.json" else ok(name.encode()))

    host.says(named)
    wanted = entries(host, 40)
    async with collector(concurrency=4) as one:
        came = [found async for found in one.results(wanted)]

    assert [found.entry for found in came] == wanted
    assert [type(found) for found in came] == [*[Fetched] * 7, Unavailable, *[Fetched] * 32]
    assert all(found.raw == found.entry.name.encode() for found in came if isinstance(found, Fetched))
    assert host.connections <= 4


async def test_whoever_stops_reading_leaves_no_request_behind(host):
    async def only_the_first(reader, writer):
        if "/0.json" in host.requests[-1]:
            writer.write(ok(b"{}"))
        else:
            await hang(reader, writer)

    host.says(only_the_first)
    async with collector(concurrency=4) as one:
        results = one.results(entries(host, 40))
        await anext(results)
        await results.aclose()

    assert len(host.requests) <= 5
