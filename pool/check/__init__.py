"""What checks the pool: a reference model, Hypothesis machines, an explorer.

Theory.  Nothing in the pool imports anything from here; everything here may import the
pool.  The checks are a part of the package, not of its tests, so that whoever depends on
the pool can run them too.
"""

import logging

# What the pools say that are checked is of no interest, unless somebody asks for it.
logging.getLogger("pool").addHandler(logging.NullHandler())
