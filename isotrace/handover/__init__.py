"""Policies handed to other enforcers: what each of them can hold, in its own form, and what it cannot. Pure."""
