"""Driving data of others, as bags that the rest of the stack reads."""
