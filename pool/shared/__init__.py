"""What the runtimes for threads and for asyncio, and what is built on them, have in common.

Theory.  Neither how one waits nor what a driver can do is known here: errors and who gets which,
who holds a connection, what is told to listeners and the log, what a claim is, what a child process
must leave alone.  It stands on `pool/core/` and on nothing else.
"""
