"""How the pages under ``docs/`` become a site, and what of it is made from the code and never written by hand.

Reading order: blocks, job_page, commands_page, python_page, documents, pictures, hooks, __main__.
"""
