"""``python -m worker demo``: the whole house on one machine beside a stand-in PACS."""
