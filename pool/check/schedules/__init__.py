"""Every order: small programs of threads or tasks, run in each order in which they can meet.

Theory.  In a world where nothing happens by itself (`scheduler.py` for threads, `loop.py` for
asyncio) a run is a list of choices, and `orders.py` makes all of them.  `threads.py` and `tasks.py`
say what must hold in each run; `programs.py` has the programs of threads.
"""
