"""The version of this software. The build reads it from here, so that a checkout that is not installed knows it too."""

VERSION = "0.1.0"
