"""The pictures of the documentation, each drawn from a run that was recorded."""
