"""The version of this software; the build reads it from here, so that a checkout that is not installed knows it too.

Nothing else here.
"""

VERSION = "0.1.0"
