"""Where the requests of a source may go, for every client: names are resolved once and addresses judged before use.

Reading order: addresses, check, connect, rules, client, egress, process.
It may import errors and hrefs of this package.
"""
