"""The steps of a reply that uses tools: what the model is offered, what it calls, and what comes of it."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec

from app.chat.parts import ToolStep
from app.chat.passages import quotation, refs_event
from app.chat.plan import ReplyPlan
from app.chat.runs.events import AttachmentSaved, Event, MediaAdded, ToolCall, ToolCallResult
from app.chat.runs.log import RunLog
from app.chat.runs.reply import Reply, content_of, refs_in
from app.chat.runs.tool_parts import open_calls
from app.chat.transcript import step_messages
from app.providers.models import ModelRequest
from app.tools.caller import ToolCaller, shortened
from app.tools.catalog import ToolCatalog
from app.tools.models import CallContext, CallStatus, Tool, ToolPolicy, ToolResult

MAX_CALLS_AT_ONCE = 8
MAX_SAME_CALLS = 2
"""How often a reply may make the same call with the same arguments; later ones are not carried out."""


class ToolSteps:
    """The tools of one reply. What has happened is read from the run's events, so that a run can go on elsewhere."""

    def __init__(self, plan: ReplyPlan, policy: ToolPolicy, catalog: ToolCatalog, caller: ToolCaller) -> None:
        self._run = plan.run
        self._policy = policy
        self._caller = caller
        self._client_names = _names(plan.turn.params.get("tools") if plan.turn is not None else None)
        self._tools: Mapping[str, Tool] = {
            tool.spec.name: tool for tool in catalog.select(policy) if tool.spec.name not in self._client_names
        }

    def extend(self, request: ModelRequest, events: Sequence[Event]) -> ModelRequest:
        """Add the tools to a request, and the steps so far. The last request has the client's own tools only."""
        steps = step_messages(content_of(events).parts)
        params = dict(request.params)
        if steps:
            params.pop("tool_choice", None)  # whatever it demanded has been called
        if self.has_steps_left(events):
            tools = [*(params.get("tools") or ()), *(tool.spec.for_model() for tool in self._tools.values())]
            if tools:
                params["tools"] = tools
        return replace(request, messages=[*request.messages, *steps], params=params)

    def split(self, reply: Reply, events: Sequence[Event]) -> tuple[list[ToolCall], list[ToolCall]]:
        """Return the calls of a step that Palaver carries out, and those that the client does.

        Each of the former has an id that no other call of the run has.
        """
        now = time.time()
        ids = {event.id for event in events if isinstance(event, ToolCall)}
        own, clients = [], []
        for call in reply.tool_calls:
            if call.name in self._client_names:
                clients.append(ToolCall(call.id, call.name, call.arguments, now))
                continue
            call_id = call.id if call.id and call.id not in ids else f"call_{uuid4().hex}"
            ids.add(call_id)
            own.append(ToolCall(call_id, call.name, call.arguments, now, is_clients=False))
        return own, clients

    def calls_to_approve(self, calls: Sequence[ToolCall], events: Sequence[Event]) -> list[ToolCall]:
        """Return the calls that a person has to approve before any of them is carried out."""
        asking = [call for call in calls if call.name in self._tools and self._policy.asks(call.name)]
        problems = self._problems(calls, events) if asking else {}
        return [call for call in asking if call.id not in problems]

    async def carry_out(self, calls: Sequence[ToolCall], log: RunLog, refusals: Mapping[str, str]) -> None:
        """Carry out the calls side by side, and append their results to the log in the calls' order.

        `refusals` are the reasons, by call id, for which a person said no. A cancellation ends the calls that go on.
        """
        problems = {**self._problems(calls, log.events), **refusals}
        places = asyncio.Semaphore(MAX_CALLS_AT_ONCE)
        waiting: deque[tuple[ToolCall, asyncio.Task[ToolResult]]] = deque()

        def append_next() -> None:
            call, task = waiting.popleft()
            log.append(*_events_of(call, task.result(), len(refs_in(log.events))))

        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    waiting.append((call, group.create_task(self._result(call, problems.get(call.id), places))))
                while waiting:
                    await waiting[0][1]
                    append_next()
        except asyncio.CancelledError:
            # What has been done must not be told as interrupted because an earlier call is.
            waiting = deque(each for each in waiting if not each[1].cancelled())
            while waiting:
                append_next()
            raise

    async def _result(self, call: ToolCall, problem: str | None, places: asyncio.Semaphore) -> ToolResult:
        if problem is not None:
            return ToolResult(problem, CallStatus.REFUSED)
        tool = self._tools.get(call.name)
        if tool is None:
            return self._caller.unknown(call.name)
        context = CallContext(
            f"{self._run.id}:{call.id}",
            self._run.username,
            self._run.key_id,
            self._policy.collections,
            self._policy.targets,
        )
        async with places:
            return await self._caller.call(tool, call.arguments, context)

    def _problems(self, calls: Sequence[ToolCall], events: Sequence[Event]) -> dict[str, str]:
        """Return why calls are not carried out, by their ids."""
        if not self.has_steps_left(events):
            return {call.id: "The reply has no steps left; answer with what you know" for call in calls}
        ids = {call.id for call in calls}
        made = (event for event in events if isinstance(event, ToolCall) and event.id not in ids)
        counts = Counter(_signature(call) for call in made)
        problems = {}
        for call in calls:
            counts[_signature(call)] += 1
            if counts[_signature(call)] > MAX_SAME_CALLS:
                problems[call.id] = (
                    "This is a repetition: the same call with the same arguments has been made "
                    f"{MAX_SAME_CALLS} times; use its result, or try something else"
                )
        return problems

    def has_steps_left(self, events: Sequence[Event]) -> bool:
        """Whether the model may call tools once more; a step that goes on does not count yet."""
        waiting = {call.id for call in open_calls(events)}
        steps = [part for part in content_of(events).parts if isinstance(part, ToolStep)]
        return sum(not any(call.id in waiting for call in step.calls) for step in steps) < self._policy.max_steps


def _events_of(call: ToolCall, result: ToolResult, numbered: int) -> list[Event]:
    """Return the events of a result; `numbered` passages have a number already."""
    text = result.text
    events: list[Event] = []
    if result.passages:
        text = shortened(quotation(result.passages, numbered + 1))
        events.append(refs_event(result.passages, numbered + 1))
    events.append(ToolCallResult(call.id, time.time(), text, result.status))
    for file in result.files:
        events += [MediaAdded(file.type.value, file.id), AttachmentSaved(file.id, file.type.value)]
    return events


def _signature(call: ToolCall) -> tuple[str, bytes | str]:
    """Return what makes two calls the same, however their JSON is written."""
    try:
        return call.name, msgspec.json.encode(msgspec.json.decode(call.arguments), order="deterministic")
    except (msgspec.DecodeError, RecursionError):
        return call.name, call.arguments


def _names(tools: Any) -> frozenset[str]:
    """Return the names of tools in OpenAI's form, which may be anything that a client has sent."""
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return frozenset(str(function.get("name")) for function in functions if isinstance(function, dict))
