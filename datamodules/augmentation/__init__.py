"""Random changes of clips on the device."""
