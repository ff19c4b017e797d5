"""Self-test of what refuses, before a run begins: a child tries what is refused."""
