"""What every other room stands on: who we are, UIDs, reasons, coded concepts, peers and TLS."""
