"""What is known of drivers: by their recipes, and by the functions that a user gives.

Theory.  PEP 249 has no words for what a pool has to ask a connection, so each driver is asked in
its own way.  Each has a file, `recipes.py` knows which is whose, and `callables.py` puts the
functions of a user before them; the files that begin with `async_` are those of asynchronous
drivers.  No driver is imported here.
"""
