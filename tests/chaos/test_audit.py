"""The audit sees what it is there to see."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from chaos.audit import (
    Books,
    Finding,
    Message,
    Run,
    called_once,
    carried_out_once,
    ended_well,
    one_story,
    shown_in_order,
    stored_once,
)
from chaos.model import Call
from chaos.plan import Door, Errand, Session
from chaos.script import message, reply_to, tokens_of, turns_of
from chaos.seen import CRASH_GAP, Event, Exchange, Faults
from chaos.usage import Sums, differences

SESSION = Session("s1", "s1")
TEXT = message("c1-1", 3, {})
REPLY = reply_to(TEXT)
QUESTION = Message(1, "s1", "r1", "user", "complete", TEXT)
ANSWER = Message(2, "s1", "r1", "assistant", "complete", REPLY)
RUN = Run("r1", "s1", "completed", 1, 2)
CUT_OFF = Message(2, "s1", "r1", "assistant", "partial", "You")
INTERRUPTED = replace(RUN, status="interrupted")


def books(*messages: Message, run: Run = RUN) -> Books:
    return Books({m.id: m for m in messages or (QUESTION, ANSWER)}, {run.id: run}, Counter())


def plain(number: int, text: str, at: float = 0.0) -> Event:
    return Event(number, msgspec.json.encode({"type": "plain", "data": text, "chain_type": None}), at)


def other(number: int, kind: str, at: float = 0.0) -> Event:
    return Event(number, msgspec.json.encode({"type": kind, "data": REPLY, "run_id": "r1"}), at)


WHOLE = [
    other(1, "session_id"),
    *(plain(number, token) for number, token in enumerate(tokens_of(TEXT), 2)),
    other(9, "complete"),
    other(10, "end"),
]
CRASHED = [other(1, "session_id"), plain(2, "You"), other(2 + CRASH_GAP, "error"), other(3 + CRASH_GAP, "end")]


def exchange(events: Sequence[Event], *, ended: bool = True) -> Exchange:
    task = Errand("c1-1", SESSION, TEXT, Door.SSE, streaming=True, on_busy=None, copies=1)
    return Exchange(task, run_ids={"r1"}, events=list(events), ended=ended)


def kinds(findings: Sequence[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def test_a_story_without_fault_has_no_findings() -> None:
    seen = exchange(WHOLE)
    assert not [*stored_once(seen, books()), *ended_well(RUN, books()), *one_story(seen, RUN, ANSWER, WHOLE, Faults())]
    assert not list(ended_well(INTERRUPTED, books(QUESTION, CUT_OFF, run=INTERRUPTED)))


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (books(ANSWER), "lost"),
        (books(QUESTION, ANSWER, replace(QUESTION, id=3)), "doubled"),
        (books(replace(QUESTION, session_id="s2"), ANSWER), "altered"),
        (books(replace(QUESTION, run_id="r2"), ANSWER, run=replace(RUN, id="r2")), "lost"),
    ],
)
def test_a_message_that_is_not_stored_once_as_it_was_said(stored: Books, kind: str) -> None:
    assert kind in kinds(list(stored_once(exchange(WHOLE), stored)))


@pytest.mark.parametrize(
    ("run", "reply", "kind"),
    [
        (replace(RUN, status="running"), ANSWER, "lost"),
        (RUN, replace(ANSWER, status="pending"), "lost"),
        (RUN, replace(ANSWER, text="You said"), "altered"),
        (RUN, replace(ANSWER, session_id="s2"), "out of order"),
        (replace(RUN, reply=3), replace(ANSWER, id=3), "out of order"),
        (replace(RUN, status="failed"), replace(ANSWER, status="failed", text=""), "lost"),
        (INTERRUPTED, replace(CUT_OFF, text="said"), "altered"),
    ],
)
def test_a_run_that_did_not_end_well(run: Run, reply: Message, kind: str) -> None:
    assert kind in kinds(list(ended_well(run, books(QUESTION, reply, run=run))))


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ([*WHOLE[:3], *WHOLE[4:]], "lost"),
        ([*WHOLE[:3], WHOLE[2], *WHOLE[3:]], "doubled"),
        ([*WHOLE[:3], plain(4, " sad"), *WHOLE[4:]], "altered"),
        ([*WHOLE[:3], WHOLE[4], WHOLE[3], *WHOLE[5:]], "altered"),
    ],
)
def test_pieces_that_are_not_the_whole(seen: list[Event], kind: str) -> None:
    assert kind in kinds(list(one_story(exchange(seen), RUN, ANSWER, WHOLE, Faults())))


def test_a_crash_may_swallow_the_last_second_and_no_more() -> None:
    seen = [*CRASHED[:2], plain(3, " said:", at=100.0), *CRASHED[2:]]
    assert not list(one_story(exchange(seen), INTERRUPTED, CUT_OFF, CRASHED, Faults([100.9])))
    assert kinds(list(one_story(exchange(seen), INTERRUPTED, CUT_OFF, CRASHED, Faults([101.5])))) == {"lost"}
    assert not list(one_story(exchange(seen), INTERRUPTED, CUT_OFF, CRASHED, Faults([101.5], [(100.0, 101.0)])))
    wrong = [*CRASHED[:2], plain(3, " sad:", at=100.0), *CRASHED[2:]]
    assert kinds(list(one_story(exchange(wrong), INTERRUPTED, CUT_OFF, CRASHED, Faults([100.9])))) == {"altered"}


def test_a_replay_that_does_not_end_or_goes_back() -> None:
    for replay in (WHOLE[:-1], [], [*WHOLE[:4], WHOLE[2], *WHOLE[4:]]):
        assert "lost" in kinds(list(one_story(exchange(WHOLE), RUN, ANSWER, replay, Faults())))


def test_a_model_that_is_asked_again_or_shown_another_conversation() -> None:
    call = Call("c1-1", [("user", TEXT)], says_something=True)
    assert not [*called_once([call], books()), *shown_in_order([call], books(), {"s1": SESSION})]
    assert kinds(list(called_once([call, call], books()))) == {"doubled"}
    silent = replace_struct(call, says_something=False)
    assert not list(called_once([silent, call], books()))

    second = message("c1-2", 3, {})
    later = books(QUESTION, ANSWER, Message(3, "s1", "r2", "user", "complete", second))
    turns = [("user", TEXT), ("assistant", REPLY), ("user", second)]
    for wrong in (turns[1:2] + turns[:1] + turns[2:], [turns[0], turns[2]], turns[2:], [*turns, turns[0]], turns[::-1]):
        assert kinds(list(shown_in_order([Call("c1-2", wrong, says_something=True)], later, {"s1": SESSION})))
    assert not list(shown_in_order([Call("c1-2", turns, says_something=True)], later, {"s1": SESSION}))


def replace_struct(call: Call, *, says_something: bool) -> Call:
    return msgspec.structs.replace(call, says_something=says_something)


WITH_TOOLS = Message(1, "s1", "r1", "user", "complete", message("c1-1", 3, {"tools": 2}))


@pytest.mark.parametrize(
    ("pages", "calls", "kind"),
    [
        ({"/c1-1/0": 1, "/c1-1/1": 1}, ("ok", "ok"), None),
        ({"/c1-1/0": 2, "/c1-1/1": 1}, ("ok", "ok"), "doubled"),
        ({"/c1-1/0": 1}, ("ok", "ok"), "lost"),
        ({"/c1-1/0": 1, "/c1-1/1": 1}, ("ok", "failed"), "lost"),
    ],
)
def test_calls_of_tools_are_carried_out_once(pages: dict[str, int], calls: tuple[str, ...], kind: str | None) -> None:
    stored = books(WITH_TOOLS, replace(ANSWER, calls=calls))
    assert kinds(list(carried_out_once(Counter(pages), stored))) == ({kind} if kind else set())


def test_the_steps_of_a_reply_are_one_turn_and_joined_messages_several() -> None:
    shown: list[dict[str, Any]] = [
        {"role": "user", "content": "a.0\n\nb.0"},
        {"role": "assistant", "content": "You", "tool_calls": [{}]},
        {"role": "tool", "content": "page"},
        {"role": "assistant", "content": " said: b.0\n\nnews.0 news.1"},
        {"role": "user", "content": "c.0"},
        {"role": "assistant", "content": "You", "tool_calls": [{}]},
        {"role": "tool", "content": "interrupted"},
        {"role": "assistant", "content": "more.0"},
        {"role": "user", "content": "d.0"},
    ]
    assert turns_of(shown) == [
        ("user", "a.0"),
        ("user", "b.0"),
        ("assistant", "You said: b.0"),
        ("assistant", "news.0 news.1"),
        ("user", "c.0"),
        ("assistant", "You"),
        ("assistant", "more.0"),
        ("user", "d.0"),
    ]


def test_usage_that_does_not_add_up_is_altered() -> None:
    sums: Sums = {("k1", "alice", "p", "m"): (2, 30, 0, 7, 0)}
    assert list(differences(sums, sums)) == []
    other: Sums = {("k1", "alice", "p", "m"): (2, 30, 0, 8, 0)}
    more: Sums = {**sums, ("k2", "bob", "p", "m"): (1, 1, 0, 1, 0)}
    for usage in ({}, other, more):
        assert len(list(differences(sums, usage))) == 1
