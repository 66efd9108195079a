"""Clock, throttle, SAS, tokens, settings."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speech_emulator.config
from speech_emulator.auth import Doorkeeper
from speech_emulator.clock import ManualClock, ScaledClock, stamp
from speech_emulator.config import ResourceSettings, Settings, ThrottleSettings, from_mapping, load
from speech_emulator.errors import CannotStartError, ServiceError
from speech_emulator.paging import page
from speech_emulator.sas import SasSigner
from speech_emulator.throttle import Throttle


async def test_a_manual_clock_wakes_those_whose_time_has_come_and_nobody_else():
    clock, woken = ManualClock(), []

    async def sleeper(seconds):
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (5, 1, 10)]
    await asyncio.sleep(0)
    clock.advance(5)
    await asyncio.gather(tasks[0], tasks[1])
    assert sorted(woken) == [1, 5]
    tasks[2].cancel()


def test_a_scaled_clock_shortens_spans_and_leaves_timestamps_real():
    clock = ScaledClock(60)
    assert clock.span(120) == 2
    assert abs(clock.now() - datetime.now(UTC).timestamp()) < 5


@given(st.floats(min_value=0, max_value=4e9))
def test_timestamps_have_whole_seconds_and_a_z(seconds):
    assert datetime.fromisoformat(stamp(seconds)).timestamp() == int(seconds)
    assert stamp(seconds).endswith("Z")


def test_a_throttle_lets_its_number_pass_and_then_refills_evenly():
    clock = ManualClock()
    throttle = Throttle(ThrottleSettings(requests=100, per_seconds=10), clock)
    assert [throttle.refuse() for _ in range(100)] == [None] * 100
    assert throttle.refuse() == 1
    clock.advance(0.11)
    assert throttle.refuse() is None
    assert throttle.refuse() is not None
    clock.advance(1000)
    assert sum(throttle.refuse() is None for _ in range(200)) == 100


def test_a_throttle_can_be_switched_off():
    throttle = Throttle(ThrottleSettings(enabled=False, requests=1), ManualClock())
    assert [throttle.refuse() for _ in range(50)] == [None] * 50


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_sas_opens_its_own_path_until_it_expires(path, other):
    signer = SasSigner(b"key")
    query = dict(parse_qsl(signer.mint(path, 1000)))
    assert signer.opens(path, query, 999)
    assert not signer.opens(path, query, 1000)
    assert signer.opens(other, query, 999) == (other == path)
    assert not SasSigner(b"other").opens(path, query, 999)
    assert not signer.opens(path, {**query, "se": "2999-01-01T00:00:00Z"}, 999)
    assert not signer.opens(path, {}, 999)


RESOURCE = ResourceSettings(name="r", key="k", region="eastus")


def refused(doorkeeper, headers):
    try:
        doorkeeper.check(RESOURCE, headers)
    except ServiceError as error:
        return error.status == 401
    return False


def test_keys_and_tokens_open_and_nothing_else_does():
    clock = ManualClock()
    doorkeeper = Doorkeeper(from_mapping({"auth": {"bearer_tokens": ["known"]}}), clock, b"signing")
    assert not refused(doorkeeper, {"ocp-apim-subscription-key": "k"})
    assert not refused(doorkeeper, {"authorization": "Bearer known"})
    for headers in (
        {},
        {"ocp-apim-subscription-key": "K"},
        {"authorization": "Bearer unknown"},
        {"authorization": "Basic known"},
        {"authorization": "Bearer emulator.9999999999.x.y"},
        {"authorization": "Bearer "},
        {"ocp-apim-subscription-key": "ü"},
    ):
        assert refused(doorkeeper, headers), headers


def test_issued_tokens_expire_and_can_be_revoked():
    clock = ManualClock()
    doorkeeper = Doorkeeper(Settings(), clock, b"signing")
    first = {"authorization": f"Bearer {doorkeeper.issue(60)}"}
    second = {"authorization": f"Bearer {doorkeeper.issue(600)}"}
    assert not refused(doorkeeper, first)
    clock.advance(61)
    assert refused(doorkeeper, first)
    assert not refused(doorkeeper, second)
    doorkeeper.revoke(second)
    assert refused(doorkeeper, second)


def test_settings_come_from_toml_and_json_alike(tmp_path):
    toml, json = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text('[server]\nport = 9\n[[resources]]\nname = "a"\nkey = "k"\nregion = "westeurope"\n')
    json.write_text('{"server":{"port":9},"resources":[{"name":"a","key":"k","region":"westeurope"}]}')
    assert load(toml) == load(json)
    assert load(toml, {"server": {"host": "0.0.0.0"}}).server.port == 9


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ({"queue": {"ordre": "fifo"}}, "ordre"),
        ({"queue": {"order": "sideways"}}, "queue.order"),
        ({"resources": []}, "at least one resource"),
        ({"resources": [{"name": "admin", "key": "k"}]}, "admin"),
        ({"resources": [{"name": "a", "key": "k"}, {"name": "a", "key": "k"}]}, "differ"),
        ({"clock": {"time_scale": 0}}, "time_scale"),
    ],
)
def test_wrong_settings_are_refused_by_name(raw, hint):
    with pytest.raises(CannotStartError, match=hint):
        from_mapping(raw)


def test_no_key_or_token_is_shown_by_repr():
    settings = from_mapping(
        {
            "resources": [{"name": "a", "key": "s3cret-key"}],
            "auth": {"bearer_tokens": ["s3cret-token"]},
            "server": {"admin_token": "s3cret-admin"},
        }
    )
    assert "s3cret" not in repr(settings)


def test_every_setting_and_guess_is_in_the_readme():
    readme = Path(speech_emulator.config.__file__).with_name("README.md").read_text(encoding="utf-8")
    for section in Settings.__struct_fields__:
        fields = getattr(type(getattr(Settings(), section)), "__struct_fields__", ())
        for name in (section, *fields):
            assert f"`{name}`" in readme or f"`[[{name}]]`" in readme, f"{section}.{name}"


@given(st.integers(0, 350), st.integers(1, 120))
def test_pages_put_together_are_the_whole_list(count, top):
    values, seen, skip = list(range(count)), [], 0
    while skip is not None:
        found, skip = page(values, {"skip": str(skip), "top": str(top)}, Settings())
        assert len(found) <= top
        seen += found
    assert seen == values
