"""The runtime for threads: applies the pure function under one lock and does what it says.

Theory.  Here are the locks, the clock and the helper threads, and nowhere else.  It knows a
driver by four methods (`driver.py`), and of asyncio nothing.
"""
