"""What size a pool needs, computed by the machine itself: `simulate`, and `purepool size`."""

from pool.size.loads import Call, Load, load_of, poisson
from pool.size.simulation import Result, simulate

__all__ = ["Call", "Load", "Result", "load_of", "poisson", "simulate"]
