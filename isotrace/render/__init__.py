"""From records to text: whole columns of decoded arguments at a time, one group per system call."""
