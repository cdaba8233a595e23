"""Random histories: Hypothesis machines, each beside something that it is compared with.

Theory.  `step.py` compares the pure function with a second pool (`reference.py`); `runtime.py` the
threads, and `tasks.py` the tasks of asyncio, with the same, most of it by the same rules
(`callers.py`); a `Twin` judges all three (`twin.py`).  `differential.py` compares the drop-in
with playhouse's pool (`pair.py`, `amended.py`).
`rounds.py` runs any of them for a while, and `purepool fuzz` (`fuzz.py`) for as long as one likes.
"""

MACHINES = {
    "step": "pool.check.machines.step:PoolMachine",
    "differential": "pool.check.machines.differential:DifferentialMachine",
    "runtime": "pool.check.machines.runtime:RuntimeMachine",
    "tasks": "pool.check.machines.tasks:TasksMachine",
}
"""The Hypothesis machines: name -> module:class. All of them are run where none is named."""
