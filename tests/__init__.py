"""The tests: a package, so that a module of theirs is one module however it is imported."""
