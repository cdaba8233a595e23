"""Calls of real callers, with their times: is there an order of transitions that explains them?"""
