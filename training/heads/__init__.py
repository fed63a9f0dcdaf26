"""Small heads on a frozen network: features once, into shards; then a head, or a grid of them, in minutes."""
