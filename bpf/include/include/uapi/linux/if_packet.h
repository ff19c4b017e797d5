/* Present because BCC includes it; BCC carries its own copy of the contents. */
