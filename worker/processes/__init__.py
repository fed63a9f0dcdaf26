"""The processes of an installation: listener, workers, sweeper, and the supervisor of all."""
