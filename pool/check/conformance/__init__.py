"""Ports to other languages: test vectors, the protocol, and the judgement of what a port answers.

Theory.  `vectors.py` writes what `step` does into files; `conform.py` asks a port (`port.py`) for
the same, and for random histories (`histories.py`), and `report.py` says how each rule stands.
"""
