"""What is watched and what a record of it is: targets, the plan of a run, the ring that records come by."""
