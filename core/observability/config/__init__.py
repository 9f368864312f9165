"""Every setting: its name, default, meaning and validation. Flags and environment make one frozen `Config`; all faults
are reported together. The same declarations produce the command line's help and the documented table.
"""
