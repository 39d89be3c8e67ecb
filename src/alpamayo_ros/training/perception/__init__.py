"""Teaches a new vision tower to see, from what the simulator knows: the small member's pretraining.

Released checkpoints bring a vision tower that has seen the world's pictures. A new, small one has seen none,
and would have to learn seeing from what is said and driven, which says little about each picture. So it first
learns to read from single pictures what is about the vehicle; then `sft` goes on from there.
"""
