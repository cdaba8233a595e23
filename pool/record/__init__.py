"""What a running pool did, and a check of it against the pure function: `Recorder`."""

from pool.record.flight import FlightRecorder
from pool.record.recorder import Recorder, Violation, replay

__all__ = ["FlightRecorder", "Recorder", "Violation", "replay"]
