"""The numbers that are no request's."""

from app.telemetry.metrics import Metrics


def test_runs_are_counted_by_how_they_end() -> None:
    metrics = Metrics()
    metrics.first_token.observe(0.2)
    metrics.runs.labels("completed").inc()
    metrics.tokens.labels("prompt").inc(10)
    metrics.tokens.labels("completion").inc(3)
    metrics.runs_active.set_function(lambda: 1)
    metrics.open_streams.set_function(lambda: 1)
    metrics.run_queue_length.set_function(lambda: 4)
    metrics.deliveries.labels("failed").inc()

    text = metrics.render().decode()
    for line in (
        "palaver_runs_active 1.0",
        'palaver_runs_total{state="completed"} 1.0',
        'palaver_tokens_total{kind="prompt"} 10.0',
        'palaver_tokens_total{kind="completion"} 3.0',
        "palaver_time_to_first_token_seconds_count 1.0",
        "palaver_open_streams 1.0",
        "palaver_run_queue_length 4.0",
        'palaver_webhook_deliveries_total{outcome="failed"} 1.0',
    ):
        assert line in text
