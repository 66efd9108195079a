import json
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_emulator import faults
from speech_emulator.errors import ServiceError
from speech_emulator.fault_rules import FaultBoard, parse_rule

FAMILIES = (
    faults.RequestFault,
    faults.ListFault,
    faults.LifeFault,
    faults.DownloadFault,
    faults.NotificationFault,
)


def firings(raw, events=10):
    board = FaultBoard()
    board.add(raw)
    return [bool(board.first(faults.RequestFault, "submit", "local")) for _ in range(events)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"every": 3}, [3, 6, 9]),
        ({"after": 8}, [9, 10]),
        ({"times": 2}, [1, 2]),
        ({"after": 3, "every": 2, "times": 2}, [5, 7]),
        ({"operation": "list"}, []),
        ({"operation": "*"}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"resource": "other"}, []),
    ],
)
def test_a_rule_fires_when_it_says(rule, expected):
    fired = firings({"kind": "http_status", "status": 503, **rule})
    assert [at + 1 for at, happened in enumerate(fired) if happened] == expected


def test_a_probability_is_met_and_can_be_replayed_by_its_seed():
    rule = {"kind": "connection_reset", "probability": 0.3, "seed": 7}
    first = firings(rule, 2000)
    assert first == firings(rule, 2000)
    assert first != firings({**rule, "seed": 8}, 2000)
    assert 480 < sum(first) < 720


def test_every_rule_counts_an_event_but_only_one_fires():
    board = FaultBoard()
    board.add({"id": "a", "kind": "http_status", "status": 500, "nth": [1]})
    board.add({"id": "b", "kind": "http_status", "status": 503, "nth": [1, 2]})
    statuses = [board.first(faults.RequestFault, "get", "local") for _ in range(3)]
    assert [fault and fault.status for fault in statuses] == [500, 503, None]
    assert [(rule["id"], rule["seen"], rule["fired"]) for rule in board.rules()] == [("a", 3, 1), ("b", 3, 1)]


def test_rules_can_be_tied_to_names():
    board = FaultBoard()
    board.add({"kind": "never_ends", "match": "chunk-*"})
    assert board.all(faults.LifeFault, "submit", "local", ["chunk-1"])
    assert not board.all(faults.LifeFault, "submit", "local", ["other"])


def test_rules_are_replaced_by_id_and_lifted():
    board = FaultBoard()
    board.add({"id": "a", "kind": "connection_reset"})
    board.add({"id": "a", "kind": "slow", "seconds": 1})
    second = board.add({"kind": "connection_reset"})
    assert [rule["kind"] for rule in board.rules()] == ["slow", "connection_reset"]
    board.remove("a")
    assert [rule["id"] for rule in board.rules()] == [second.when.id]
    board.remove()
    assert board.rules() == []


def test_a_board_goes_on_counting_from_what_it_had_written():
    written = []
    board = FaultBoard(lambda rules: written.append(json.dumps(rules)))
    board.add({"kind": "http_status", "status": 500, "nth": [3]})
    for _ in range(2):
        assert board.first(faults.RequestFault, "get", "local") is None
    again = FaultBoard()
    for rule in json.loads(written[-1]):
        again.add(rule)
    assert again.first(faults.RequestFault, "get", "local")


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"kind": "unheard_of"},
        {"kind": "http_status"},
        {"kind": "http_status", "status": "503"},
        {"kind": "connection_reset", "sometimes": True},
        {"kind": "connection_reset", "nth": 1},
    ],
)
def test_wrong_rules_are_refused(raw):
    with pytest.raises(ServiceError) as refused:
        parse_rule(raw)
    assert refused.value.status == 400


def test_every_kind_belongs_to_exactly_one_family():
    kinds = [kind for family in FAMILIES for kind in typing.get_args(family)]
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == set(typing.get_args(faults.Fault))


def test_every_kind_is_in_the_readme():
    readme = Path(faults.__file__).with_name("README.md").read_text(encoding="utf-8")
    for kind in typing.get_args(faults.Fault):
        assert f"`{kind.__struct_config__.tag}`" in readme


@given(st.sampled_from(typing.get_args(faults.Fault)), st.integers(0, 5), st.integers(0, 5))
def test_rules_survive_being_written_and_read(kind, seen, fired):
    required = {"http_status": {"status": 500}, "list_lag": {"seconds": 1}, "delayed": {"seconds": 1}}
    tag = kind.__struct_config__.tag
    rule = parse_rule({"kind": tag, "seen": seen, "fired": fired, **required.get(tag, {})})
    again = parse_rule(msgspec.json.decode(msgspec.json.encode(rule.as_dict())))
    assert again.as_dict() == rule.as_dict()
