"""The bench of real kernels: QEMU guests that run the checkout's tests, one short stage a file.

    matrix    which kernels there are             kernels.toml
    archive   what the distribution's mirror has  its signed package index
    find      which packages a kernel needs       the newest that match
    fetch     the packages, verified              cache/packages
    unpack    vmlinux and modules out of them     cache/kernels
    build     the kernel that is built instead    cache/kernels
    headers   what a module is built against      cache/headers
    initramfs busybox, modules, init.sh           cache/initramfs
    boot      QEMU, its console and its link
    verdict   what console and link say of a run
    run       one kernel from find to verdict
    table     the end: kernel × tests × seconds

Each stage runs alone: ``python -m tests.vm.bench.find 6.1``; all of them: ``python -m tests.vm.bench``.
"""
