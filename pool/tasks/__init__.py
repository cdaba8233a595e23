"""The runtime for asyncio: applies the pure function on one event loop and does what it says.

Theory.  Here are the tasks, the timers and the loop, and nowhere else.  The face that its users see
is `pool/aio/`.
"""
