"""The first minutes: a demo without a network, a job begun by questions, and what this machine has and lacks.

Reading order: demo, begin, doctor.
It may import run and what it imports.
"""
