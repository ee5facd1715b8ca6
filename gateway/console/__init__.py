"""The support console: pages that read what is recorded, and act only through the use cases that the API calls.

browser ─► headers, session ─► the person's role ─► a page ─► template
           (gates.py)          (routes.py)          one module per subject
"""
