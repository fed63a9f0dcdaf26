"""What people look at: the model's attention over the radiograph, with its banner."""
