"""Metrics of a pool: for OpenTelemetry `instrument`, for Prometheus `collector`.

Theory.  The names are those of OpenTelemetry's semantic conventions for pools of database
connections; what they have no name for begins with `purepool.`.  What is so at an instant is read
off the state when somebody asks; what adds up is counted by a `Meter`, which is told by a thread of
its own, so that a checkout pays for writing down two tuples.

Neither keeps a pool alive.  Neither library is needed to import this.
"""

from pool.metrics.otel import Instrumented, instrument
from pool.metrics.prometheus import Collector, collector

__all__ = ["Collector", "Instrumented", "collector", "instrument"]
