"""Reads the files of a run of `standin load` as other programs do, with the package hdrhistogram.

Arguments: the JSON, the HDR log, and the file of percentiles of reads. All three must agree.
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

results, log, percentiles = sys.argv[1:]
with open(results, encoding="utf-8") as file:
    document = json.load(file)

HIGHEST_US = 3_600_000_000


def empty():
    return HdrHistogram(1, HIGHEST_US, 3)


def check(histogram, percentile, value_us):
    """Libraries round the rank of a percentile up or to the nearest: one request more or less."""
    one = 100 / histogram.get_total_count()
    low = histogram.get_value_at_percentile(max(0, percentile - one))
    high = histogram.get_value_at_percentile(min(100, percentile + one))
    slack = max(1, value_us / 1000)
    assert low - slack <= value_us <= high + slack, (percentile, low, value_us, high)


reader = HistogramLogReader(log, empty())
by_tag = {}
while True:
    histogram = reader.get_next_interval_histogram()
    if histogram is None:
        break
    by_tag.setdefault(histogram.get_tag(), empty()).add(histogram)
assert "read" in by_tag, by_tag.keys()

for operation in document["operations"]:
    if operation["requests"] == 0:
        continue
    name, latency = operation["name"], operation["latency_us"]
    whole = HdrHistogram.decode(operation["histogram"])
    for histogram in (whole, by_tag[name]):
        assert histogram.get_total_count() == operation["requests"], (name, histogram.get_total_count())
        for percentile, key in ((50, "p50"), (99, "p99"), (99.9, "p999"), (100, "max")):
            check(histogram, percentile, latency[key])

with open(percentiles, encoding="utf-8") as file:
    lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
rows = [[float(cell) for cell in line] for line in lines[1:]]
for value_ms, quantile, *_ in rows:
    check(by_tag["read"], quantile * 100, value_ms * 1000)
print(f"{len(by_tag)} operations and {len(rows)} percentiles agree")
