"""Tests with real threads, real processes and real databases."""
