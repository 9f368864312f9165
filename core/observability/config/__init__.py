"""Every setting: its name, default, meaning and validation. One frozen `Config` is built from flags and environment."""
