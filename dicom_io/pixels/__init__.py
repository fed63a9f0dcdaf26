"""From pixel data to the grey picture that the network and people see."""
