"""The part of the table app's code that a row changes, to see when the new code is taken in."""

RELEASE = "1"
