"""``isotrace block --verify``: a child of isotrace attacks the rules before anything else is started.

``scratch`` makes what is attacked: a place of its own, with rules of the same kinds as those that were asked for.
``ways`` are the attacks, in Python: those of tests/progs/attacks and tests/progs/escape.c that one child can try by
itself. Each is tried without a rule first: what does not work then is no way on this kernel. ``run`` tries them under
the rules.
"""
