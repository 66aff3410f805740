"""Carrying out one call: its arguments checked, its time bounded, its failures told to the model."""

import asyncio
import time
from dataclasses import replace

import structlog

from app.errors import AppError
from app.telemetry.metrics import Metrics
from app.tools.arguments import ArgumentChecker
from app.tools.models import MAX_RESULT_CHARS, CallContext, CallStatus, Tool, ToolError, ToolResult

UNKNOWN = "(unknown)"
"""What the calls of tools that there are not count under; no tool has such a name."""

log = structlog.get_logger(__name__)


class ToolCaller:
    """Carries out calls. One that fails has a result that says so."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._arguments = ArgumentChecker()

    async def call(self, tool: Tool, arguments: str, context: CallContext) -> ToolResult:
        """Carry out a call; `arguments` is the JSON text that the model wrote. A cancellation ends the call."""
        start = time.monotonic()
        outcome = "cancelled"
        try:
            result, outcome = await self._outcome(tool, arguments, context)
        finally:
            seconds = time.monotonic() - start
            self._metrics.tool_calls.labels(tool.spec.name, outcome).inc()
            self._metrics.tool_seconds.labels(tool.spec.name).observe(seconds)
            log.info("tool_called", tool=tool.spec.name, outcome=outcome, ms=round(1000 * seconds))
        return replace(result, text=shortened(result.text))

    def unknown(self, name: str) -> ToolResult:
        """Count a call of a tool that there is not, and tell so. A model may make any name up: all count as one."""
        self._metrics.tool_calls.labels(UNKNOWN, "failed").inc()
        return _failure(f"There is no tool named {name[:64]}")

    async def _outcome(self, tool: Tool, arguments: str, context: CallContext) -> tuple[ToolResult, str]:
        """Return the result, and its outcome for the metrics."""
        try:
            values = self._arguments.check(tool.spec, arguments)
            async with asyncio.timeout(tool.timeout_seconds):
                result = await tool.call(values, context)
        except ToolError as error:
            return _failure(str(error)), "failed"
        except AppError as error:
            return _failure(error.message), "failed"
        except TimeoutError:
            return _failure(f"The tool did not answer within {tool.timeout_seconds:g} seconds"), "timeout"
        except Exception as error:
            log.error("tool_crashed", tool=tool.spec.name, exc_info=error)
            return _failure("The tool failed because of an internal error"), "crashed"
        return result, result.status.value


def _failure(text: str) -> ToolResult:
    return ToolResult(text, CallStatus.FAILED)


def shortened(text: str) -> str:
    """Return the text, cut to MAX_RESULT_CHARS with a word that says so."""
    if len(text) <= MAX_RESULT_CHARS:
        return text
    note = f"\n[cut: the result has {len(text)} characters]"
    return text[: MAX_RESULT_CHARS - len(note)] + note
