"""`purepool timeline`: a recording as a page to look at, or as a picture.

Theory.  `spans.py` makes of transitions what has a beginning and an end (`columns.py`); `rules.py`
says which rules of the specification a transition kept.  None of them knows how it is shown: that
is `write.py` with the files in `page/`, which need no network, or `picture.py`.
"""
