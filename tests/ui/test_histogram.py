from segdemo.ui.histogram import Histogram


def test_it_is_told_as_prometheus_reads_it():
    histogram = Histogram((0.1, 1))
    for seconds in (0.05, 0.1, 0.5, 7):
        histogram.observe(seconds)
    assert histogram.lines("wait_seconds", "How long.") == [
        "# HELP wait_seconds How long.",
        "# TYPE wait_seconds histogram",
        'wait_seconds_bucket{le="0.1"} 2',
        'wait_seconds_bucket{le="1"} 3',
        'wait_seconds_bucket{le="+Inf"} 4',
        "wait_seconds_sum 7.650000",
        "wait_seconds_count 4",
    ]
