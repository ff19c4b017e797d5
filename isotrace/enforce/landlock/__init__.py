"""Rules on paths and ports by Landlock, in a command that isotrace starts: also for a user without privileges.

Landlock knows what is allowed, never what is denied: ``places`` and ``ports`` turn the one into the other. What Landlock
does not judge is ``beside`` it: refused by the command's seccomp filter, or done by isotrace in the caller's place.
"""
