"""The `tilewright` command.

Reading order: main, jobs, options, models, bounded, series, products, find, start, commands, exits.
It may import every other wing; nothing imports it. Slow modules are imported by the command that needs
them.
"""
