"""Attributes that change, and names that come to mean something else."""

from tests.vm.attacks import REFUSED, Announced, Row, by

_APP = "mkdir app; echo good >app/config; chmod 777 app; chown -R 65534 app"
_TREE = "mkdir -p WAY/app WAY/empty; echo good >WAY/app/config; ln -s app WAY/link; chown -hR 65534 WAY"
_FILE = "mkdir w; echo kept >w/file; chmod 777 w; chown 65534 w/file"

ROWS = (
    Row(
        "the directory of a file is exchanged for another",
        ("--deny-path", "w:HERE/app/config"),
        "mv app old && mkdir app && echo evil >app/config",
        by(REFUSED),
        setup=_APP, quick=True,
    ),
    Row(
        "the directory of a file is covered by a mount",
        ("--deny-path", "w:HERE/app/config"),
        "mount -t tmpfs none app || exit 1; echo evil >app/config",
        by(REFUSED),
        setup=_APP, user="root",
    ),
    Row(
        "an overlay moves the directory of a file in its layer",
        ("--deny-path", "r:HERE/up/app/config"),
        "mount -t overlay o -o lowerdir=empty,upperdir=up,workdir=work top || exit 77; mv top/app top/old && [ -d up/old ]",
        by(REFUSED),
        setup="mkdir -m 777 empty up work top up/app; echo good >up/app/config", user="root",
    ),
    Row(
        "the directory of a file is made anew by somebody else",
        ("--deny-path", "w:HERE/app/config"),
        "echo evil >app/config",
        by(Announced("a directory that somebody else removes and makes anew")),
        setup=_APP, meanwhile="mv app old; mkdir -m 777 app",
    ),
    *(
        Row(
            f"the path of a rule comes to name another file: {attack}",
            ("--deny-path", f"w:HERE/{attack}/{place}/config"),
            ("ancestors", attack, f"HERE/{attack}/{place}", "config"),
            by(REFUSED),
            setup=_TREE.replace("WAY", attack), quick=True,
        )
        for attack, place in (
            *(("exchanged", "app"), ("removed", "empty")),
            *(("unlinked", "link"), ("pointed_elsewhere", "link")),
        )
    ),
    Row(
        "a directory that a pattern leads through moves to where the pattern does not",
        ("--deny-path", "r:HERE/srv/**/key"),
        "mv srv/a out/a && cat out/a/key",
        by(REFUSED),
        setup="mkdir -p srv/a out; echo secret >srv/a/key; chmod -R 777 srv out; chown -R 65534 srv out", quick=True,
    ),
    *(
        Row(
            f"where a pattern leads through, {what}",
            ("--deny-path", f"w:HERE/{rule}"),
            f"{attack} && cat {seen}",
            by(REFUSED),
            setup="mkdir -p home/u srv/a x; echo good >srv/a/config; echo evil >x/config; chown -R 65534 home srv x",
        )
        for what, rule, attack, seen in (
            ("a directory arrives with what is denied", "srv/*/config", "mv x srv/n", "srv/n/config"),
            ("a directory arrives under a name", "home/*/.ssh/config", "mv x home/u/.ssh", "home/u/.ssh/config"),
            ("a directory arrives under a plain name", "home/u/app/config", "mv x home/u/app", "home/u/app/config"),
            ("a link is made", "srv/*/config", 'ln -s "$PWD/x" srv/n', "srv/n/config"),
            ("a link takes another name", "srv/*/config", "ln -s ../x l && mv l srv/n", "srv/n/config"),
            ("a link is made under a plain name", "home/u/app/config", "ln -s ../../x home/u/app", "home/u/app/config"),
        )
    ),
    *(
        Row(
            f"the path of a rule comes to name another file: {attack}",
            ("--deny-path", f"w:HERE/{attack}/app/config"),
            ("ancestors", attack, f"HERE/{attack}/{place}", f"HERE/{attack}/empty"),
            by(REFUSED),
            setup=_TREE.replace("WAY", attack), user="root",
        )
        for attack, place in (("covered", "app"), ("pivoted", "empty"))
    ),
    Row(
        "a directory moves to where an exception is",
        ("--deny-path", "r:HERE/srv/**/key", "--allow-path", "r:HERE/srv/pub/**"),
        "mv srv/a srv/pub/a && cat srv/pub/a/key",
        by(REFUSED),
        setup="mkdir -p srv/a srv/pub; echo secret >srv/a/key; chmod -R 777 srv; chown -R 65534 srv", quick=True,
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
