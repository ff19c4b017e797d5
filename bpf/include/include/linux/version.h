/*
 * BCC asks for the kernel's version only to leave out what kernels before 4.8 lack and to fill a
 * field that no kernel since 5.0 reads (commit 6c4fc209fcf9). isotrace probes features instead.
 */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
