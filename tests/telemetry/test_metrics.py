"""The numbers that are no request's."""

from app.telemetry.metrics import Metrics


def test_runs_are_counted_by_how_they_end() -> None:
    metrics = Metrics()
    metrics.run_started()
    metrics.run_started()
    metrics.first_token(0.2)
    metrics.run_finished("completed", prompt_tokens=10, completion_tokens=3)
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    metrics.queue_length(4)
    metrics.webhook_delivery("failed")

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
