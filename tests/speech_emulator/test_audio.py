"""Fetching and decoding, without a recogniser."""

import io
import wave

import httpx
import numpy as np
import pytest

from speech_emulator.audio import RATE, AudioFacts, AudioFetcher, check_channels, decoded, measure, stretches
from speech_emulator.config import from_mapping
from speech_emulator.recognisers.model import FileFailedError, Request
from speech_emulator.recognisers.whisper import is_silent

SETTINGS = from_mapping({})


def wav(seconds=1.0, channels=1, rate=8000, level=0.5, gap=None):
    time = np.arange(int(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * 440 * time) * level
    if gap is not None:
        tone[int(gap[0] * rate) : int(gap[1] * rate)] = 0
    samples = np.repeat((tone * 32767).astype("<i2")[:, None], channels, axis=1)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def facts(content, **more):
    return measure(io.BytesIO(content), accept_m4a=more.get("accept_m4a", True))


def encoded(container, codec, rate=16000):
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        with av.open(io.BytesIO(wav(2.0, rate=rate))) as source:
            resampler = av.AudioResampler(
                format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size or 960
            )
            for frame in source.decode(audio=0):
                for piece in resampler.resample(frame):
                    output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def test_length_and_channels_are_measured():
    assert facts(wav(1.5)) == AudioFacts(1, 1500)
    assert facts(wav(0.5, channels=2, rate=44100)) == AudioFacts(2, 500)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("webm", "libopus"), ("adts", "aac")],
)
def test_the_services_formats_are_decoded(container, codec):
    found = facts(encoded(container, codec, rate=48000 if codec == "libopus" else 16000))
    assert found.channels == 1
    assert abs(found.duration_ms - 2000) < 150


def test_m4a_can_be_refused():
    content = encoded("mp4", "aac")
    assert facts(content).channels == 1
    with pytest.raises(FileFailedError) as failed:
        facts(content, accept_m4a=False)
    assert failed.value.kind == "InvalidData"


@pytest.mark.parametrize(
    "content",
    [
        b"milk\nbread\neggs\n" * 200,
        bytes(5000),
        np.random.default_rng(1).bytes(20_000),
        wav()[:30],
        b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["text", "zeros", "noise", "head", "playlist", "concat", "picture"],
)
def test_what_is_no_audio_is_invalid_data(content):
    with pytest.raises(FileFailedError) as failed:
        facts(content)
    assert failed.value.kind == "InvalidData"


def test_stretches_are_bounded_seamless_and_cut_where_it_is_quiet():
    content = wav(100.0, rate=RATE, gap=(33.0, 33.5))
    whole = np.concatenate(list(decoded(io.BytesIO(content), accept_m4a=True)), axis=1)
    pieces = list(stretches(io.BytesIO(content), seconds=40, accept_m4a=True))
    assert all(piece.shape[1] <= 41 * RATE for _, piece in pieces)
    assert np.array_equal(np.concatenate([piece for _, piece in pieces], axis=1), whole)
    starts = [start for start, _ in pieces]
    assert starts == list(np.cumsum([0, *(piece.shape[1] for _, piece in pieces)])[:-1])
    assert 33.0 * RATE < starts[1] < 33.5 * RATE


def test_channels_are_checked_as_the_service_does():
    ask = lambda channels, diarization=False: Request(channels, diarization, "en-US")  # noqa: E731
    assert check_channels(AudioFacts(1, 1), ask((0, 1)), SETTINGS) == (0,)
    assert check_channels(AudioFacts(2, 1), ask((1,)), SETTINGS) == (1,)
    assert check_channels(AudioFacts(2, 1), ask((0,), True), SETTINGS) == (0,)
    for facts, asked, text in (
        (AudioFacts(2, 1), ask((0, 1), True), "Stereo"),
        (AudioFacts(1, 1), ask((1,)), "none of the requested"),
    ):
        with pytest.raises(FileFailedError, match=text) as failed:
            check_channels(facts, asked, SETTINGS)
        assert failed.value.kind == "InvalidData"


def test_silence_is_told_from_speech_like_loudness():
    assert is_silent(np.zeros(RATE, np.float32), -55)
    assert is_silent(np.full(RATE, 0.0005, np.float32), -55)
    assert is_silent(np.zeros(0, np.float32), -55)
    loud = np.zeros(RATE, np.float32)
    loud[:1600] = 0.1
    assert not is_silent(loud, -55)


async def fetch(answer, **limits):
    settings = from_mapping({"limits": limits})
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with client, AudioFetcher(settings, client).fetched("https://a.test/x?sig=s") as audio:
        return audio.file.read()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (httpx.Response(403), "InvalidUri", "Authentication failed"),
        (httpx.Response(404), "InvalidUri", "could not be downloaded"),
        (httpx.Response(500), "InvalidUri", "could not be downloaded"),
        (httpx.Response(200, content=b""), "InvalidData", "empty"),
        (httpx.Response(200, content=b"x" * 11), "InvalidData", "size limit"),
        (httpx.ConnectError("no"), "InvalidUri", "could not be downloaded"),
    ],
)
async def test_a_file_that_cannot_be_had_fails_for_its_reason(answer, kind, message):
    def respond(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(FileFailedError, match=message) as failed:
        await fetch(respond, file_bytes=10)
    assert failed.value.kind == kind
    assert "sig=" not in str(failed.value)


async def test_a_file_is_fetched_whole():
    assert await fetch(lambda _: httpx.Response(200, content=b"x" * 100_000)) == b"x" * 100_000


async def test_the_synthetic_recogniser_can_be_told_to_look_at_the_audio(service_with):
    def outside(request):
        if "stereo" in request.url.path:
            return httpx.Response(200, content=wav(20, channels=2))
        return httpx.Response(403)

    raw = {"recogniser": {"kind": "synthetic", "synthetic_fetch_audio": True}}
    service = await service_with(raw, outside=outside)
    made = await service.submit(contentUrls=["https://a.test/stereo.wav", "https://a.test/expired.wav"])
    service.clock.advance(1)
    # Decoding runs on a thread, so turns of the event loop are not enough.
    while (await service.shown(made))["status"] != "Succeeded":
        await service.settle()
    results = await service.results(made)
    assert results["contenturl_0.json"]["duration"] == "PT20S"
    assert {phrase["channel"] for phrase in results["contenturl_0.json"]["recognizedPhrases"]} == {0, 1}
    assert results["report.json"]["details"][1]["errorMessage"] == "Authentication failed for recordings URI."


def test_diarization_has_a_limit_of_its_own():
    ask = Request((0,), diarization=True, locale="en-US")
    assert check_channels(AudioFacts(1, 240 * 60_000), ask, SETTINGS) == (0,)
    with pytest.raises(FileFailedError) as failed:
        check_channels(AudioFacts(1, 240 * 60_000 + 1), ask, SETTINGS)
    assert failed.value.kind == "LimitExceeded"
