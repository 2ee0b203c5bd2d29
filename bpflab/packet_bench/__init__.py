"""The packet bench: a program on packets of yours, and what it made of them. `Program.bench` is the way in.

Nothing is imported here: `bpflab.program` wants `refusal` alone, and at once.
"""
