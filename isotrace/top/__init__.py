"""``isotrace top``: tables of what is called, from counts that the kernel keeps."""
