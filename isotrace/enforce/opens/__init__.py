"""Rules on what is opened, by fanotify: for questions about files that are named literally, where nothing else serves."""
