"""Which cgroup is a container's: by the files in which container runtimes keep what they run, and by their sockets.

``states.py`` reads files, ``runtimes.py`` what each runtime writes, ``sockets.py`` asks where files do not tell,
``cgroups.py`` believes it or not, ``find.py`` chooses.
"""
