"""`purepool size`: what it is given, what it prints and what it draws."""
