"""Proof that refusing works before a run begins: a child tries what is refused."""
