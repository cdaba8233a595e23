"""Every state of small worlds: the explorer, what must hold there, and the comparison with TLC.

Theory.  `configurations.py` says how large a world is, `moves.py` what can happen in it, and
`explorer.py` goes everywhere; `properties.py` and `liveness.py` say what must hold on the way.  Two
states are the same if `canonical.py` says so, and `graphs.py` compares with what `tlc.py` finds.
"""
