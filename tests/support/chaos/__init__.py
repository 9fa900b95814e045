"""Many small runs that are disturbed on purpose: killed, stopped, cut off from storage; and what must hold after each.

Reading order: processes, places, checks, events, driver.
"""
