"""What the pool costs and what it is worth, measured beside other pools.

`python -m benchmarks.demo` (`make run`) shows one application at work; `python -m benchmarks`
(`make bench`) measures every claim that has a number, and says whether it is met.
"""
