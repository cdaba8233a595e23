"""The pure half: what a pool is, what can happen to it, what it then does.

Theory.  `step(state, event) -> (state', effects)` and the data it works on.  No clock, no lock, no
thread, no driver, nothing random: all that arrives inside events, so whatever happens here can be
searched, replayed and proved.  `tests/model/test_purity.py` reads every file of this folder.

Nothing here imports anything of the other rooms.
"""
