"""What every process stands on: named errors, log lines, failpoints, how a process is named, started and timed."""
