"""What people read of a run: plots, the HTML report, the model card."""
