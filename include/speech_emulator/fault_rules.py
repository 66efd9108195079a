"""Rules that set faults off, and the board that holds them; what a fault does is up to the place that asked.

A rule says when (nth, every, probability with a seed, after, times, match). Whether it fires depends only on its
own counters and seed, so a run can be replayed.
"""

import fnmatch
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from speech_emulator.errors import invalid
from speech_emulator.faults import (
    Delayed,
    FailsWhole,
    Fault,
    FilesFail,
    FilesLost,
    FilterIgnored,
    ItemsSkipped,
    ListLag,
    NeverEnds,
    NotificationDuplicated,
    NotificationLost,
    Overtaken,
    PurgedEarly,
    ReportMissing,
    ResultCorrupt,
    ResultExpires,
    ResultNotFound,
    ResultTruncated,
)

_DEFAULT_OPERATION: Mapping[type[Any], str] = {
    **dict.fromkeys((FilterIgnored, ItemsSkipped), "list"),
    **dict.fromkeys(
        (
            ListLag,
            NeverEnds,
            Overtaken,
            Delayed,
            FailsWhole,
            FilesFail,
            FilesLost,
            ReportMissing,
            PurgedEarly,
        ),
        "submit",
    ),
    **dict.fromkeys((ResultNotFound, ResultExpires, ResultCorrupt, ResultTruncated), "download"),
    **dict.fromkeys((NotificationLost, NotificationDuplicated), "notify"),
}


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The events that a rule considers, and which of them set it off. Events count from 1, per rule."""

    id: str = ""
    operation: str = ""
    """Name of an operation or `*`; empty takes the fault's own place, or `*`."""
    resource: str | None = None
    match: str | None = None
    """Pattern (`*`, `?`) for the transcription's displayName, or for the URL path or name of a downloaded file."""
    nth: tuple[int, ...] = ()
    every: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int = 0
    times: int | None = None


_WHEN_KEYS = frozenset(When.__struct_fields__)


class Rule:
    """A fault, when it happens, and how often it has been considered and has happened."""

    def __init__(self, when: When, fault: Fault, *, seen: int = 0, fired: int = 0) -> None:
        self.when = when
        self.fault = fault
        self.seen = seen
        self.fired = fired

    @property
    def operation(self) -> str:
        """The operation whose events the rule considers."""
        return self.when.operation or _DEFAULT_OPERATION.get(type(self.fault), "*")

    def considers(self, operation: str, resource: str, subjects: Iterable[str]) -> bool:
        """Whether an event is one of this rule's."""
        when = self.when
        if self.operation not in {"*", operation} or when.resource not in {None, resource}:
            return False
        return when.match is None or any(fnmatch.fnmatchcase(subject, when.match) for subject in subjects)

    def fires(self) -> bool:
        """Count one event and say whether it sets the rule off."""
        when = self.when
        self.seen += 1
        if self.seen <= when.after or (when.times is not None and self.fired >= when.times):
            return False
        if when.nth and self.seen not in when.nth:
            return False
        if when.every is not None and (self.seen - when.after) % when.every:
            return False
        if when.probability < 1 and random.Random(f"{when.seed}/{self.seen}").random() >= when.probability:
            return False
        self.fired += 1
        return True

    def as_dict(self) -> dict[str, Any]:
        """The rule as `/admin/faults` shows it: flat, with its counters."""
        when = {
            key: value
            for key, value in msgspec.to_builtins(self.when).items()
            if value not in (None, "", [], ())
        }
        return {
            **when,
            "operation": self.operation,
            **msgspec.to_builtins(self.fault),
            "seen": self.seen,
            "fired": self.fired,
        }


def parse_rule(raw: Mapping[str, Any], *, number: int = 1) -> Rule:
    """A rule of its flat form; counters that `as_dict` wrote are taken over."""
    counters = {key: int(raw.get(key, 0)) for key in ("seen", "fired")}
    when = {key: value for key, value in raw.items() if key in _WHEN_KEYS}
    rest = {key: value for key, value in raw.items() if key not in _WHEN_KEYS and key not in counters}
    try:
        fault = msgspec.convert(rest, Fault)
        parsed = msgspec.convert({"id": f"rule-{number}", **when}, When)
    except msgspec.ValidationError as error:
        raise invalid(f"The fault rule is wrong: {error}", "InvalidParameter", target="faults") from error
    return Rule(parsed, fault, **counters)


class FaultBoard:
    """The rules in force, asked at every place where something could go wrong."""

    def __init__(self, changed: Callable[[list[dict[str, Any]]], None] = lambda _: None) -> None:
        self._rules: dict[str, Rule] = {}
        self._added = 0
        self._changed = changed

    def add(self, raw: Mapping[str, Any]) -> Rule:
        """Put a rule in force; one of the same id is replaced."""
        self._added += 1
        while not raw.get("id") and f"rule-{self._added}" in self._rules:
            self._added += 1
        rule = parse_rule(raw, number=self._added)
        self._rules[rule.when.id] = rule
        self._save()
        return rule

    def remove(self, rule_id: str | None = None) -> None:
        """Lift one rule, or all."""
        if rule_id is None:
            self._rules.clear()
        else:
            self._rules.pop(rule_id, None)
        self._save()

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its counters."""
        return [rule.as_dict() for rule in self._rules.values()]

    def first(self, family: Any, operation: str, resource: str, subjects: Iterable[str] = ()) -> Any | None:
        """The fault of the first rule of a family that this event sets off; the other rules only count it."""
        fired = self._fired(family, operation, resource, tuple(subjects), at_most=1)
        return fired[0] if fired else None

    def all(self, family: Any, operation: str, resource: str, subjects: Iterable[str] = ()) -> list[Any]:
        """The faults of all rules of a family that this event sets off."""
        return self._fired(family, operation, resource, tuple(subjects), at_most=len(self._rules))

    def concerns(self, family: Any) -> bool:
        """Whether any rule of a family is in force, so that callers can spare themselves the subjects."""
        return any(isinstance(rule.fault, family) for rule in self._rules.values())

    def _fired(
        self, family: Any, operation: str, resource: str, subjects: tuple[str, ...], *, at_most: int
    ) -> list[Any]:
        considered = False
        fired: list[Any] = []
        for rule in self._rules.values():
            if isinstance(rule.fault, family) and rule.considers(operation, resource, subjects):
                considered = True
                if len(fired) >= at_most:
                    rule.seen += 1
                elif rule.fires():
                    fired.append(rule.fault)
        if considered:
            self._save()
        return fired

    def _save(self) -> None:
        self._changed(self.rules())
