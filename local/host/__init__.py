"""A local Azure Functions host: runs a Python v2-model app unchanged, as a process of its own.

``python -m local.host --app DIR --port N`` serves the HTTP, timer and Event Grid functions of ``DIR`` on
127.0.0.1. Where the behaviour of the real host is known it is copied; where it is not, the plain thing is
done and the docstring of that place says so.
"""
