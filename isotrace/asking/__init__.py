"""Asking before calls go on: the desk that has all questions and gives all answers, and whoever it asks."""
