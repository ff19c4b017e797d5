"""Recordings: what a run saw, as a file of Apache Arrow batches. docs/recording.md says what of it stays as it is.

``schema`` is the contract; ``encode`` turns batches of the ring into Arrow and back; ``writer`` is a sink that appends them
to a file; ``frames`` finds them in one again, whatever became of its end, and ``reader`` gives them back.
"""
