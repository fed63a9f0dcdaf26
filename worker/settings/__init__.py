"""The configuration: one TOML file plus ``CXR_*`` environment variables, a file per subject."""
