"""Attributes that change, and names that come to mean something else."""

from tests.vm.attacks import REFUSED, Announced, Open, Row, by

_FILE = "mkdir w; echo kept >w/file; chmod 777 w; chown 65534 w/file"

ROWS = (
    Row(
        "the directory of a file is exchanged for another",
        ("--deny-path", "w:HERE/app/config"),
        "mv app old && mkdir app && echo evil >app/config",
        by(Open("an ancestor of what a rule names may be moved")),
        setup="mkdir app; echo good >app/config; chmod 777 app; chown -R 65534 app", quick=True,
    ),
    *(
        Row(
            name,
            ("--deny-path", "w:HERE/w/**"),
            (program, attack, "HERE/w/file"),
            by(REFUSED),
            setup=_FILE, untried=untried,
        )
        for name, program, attack, untried in (
            ("FS_IOC_SETFLAGS on a descriptor for reading", "attributes", "setflags", ("5.10",)),
            ("attributes by FS_IOC_FSSETXATTR", "attributes", "fssetxattr", ("5.10",)),
            ("attributes by FS_IOC32_SETFLAGS of a 32-bit call", "commands", "setflags32", ("5.10",)),
            ("attributes by file_setattr", "commands", "file_setattr", ("5.10", "6.1", "6.12", "6.1-override")),
        )
    ),
    Row(
        "what stat and access tell of a file that may not be read",
        ("--deny-path", "r:HERE/secret/**"),
        "stat secret/file && test -r secret/file && stat -f secret/file",
        by(Announced("what stat, access, getxattr, readlink, statfs and inotify tell is told")),
        setup="mkdir secret; echo secret >secret/file; chmod 755 secret; chmod 644 secret/file", quick=True,
    ),
)  # fmt: skip
