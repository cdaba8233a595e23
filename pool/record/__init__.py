"""What a running pool did, and a check of it against the pure function: `Recorder`."""

from pool.record.recorder import Recorder, Violation, replay

__all__ = ["Recorder", "Violation", "replay"]
