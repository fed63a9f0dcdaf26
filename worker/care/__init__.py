"""What people do: requeue, release, explain, export, send, and check an installation."""
