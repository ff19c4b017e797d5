/* Classic BPF's instruction encoding, which the extended one builds on. */
#define BPF_CLASS(code) ((code) & 0x07)
#define BPF_LD 0x00
