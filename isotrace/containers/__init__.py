"""Which cgroup is a container's: by the files in which container runtimes keep what they run.

``states.py`` reads files, ``runtimes.py`` what each runtime writes, ``cgroups.py`` believes it or not, ``find.py`` chooses.
"""
