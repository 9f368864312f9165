"""The live state in a terminal: tables of a snapshot, as text and as the screen of the command `top`."""
