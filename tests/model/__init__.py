"""Tests of the pure half: no thread, no clock, no sleep."""
