/* What BCC's own headers need to know of a kernel configuration; nothing here differs between kernels. */
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_64BIT 1
