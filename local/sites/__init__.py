"""The access keys of functions, as the management plane changes them and a Functions host takes them.

Known: a function has named keys, `default` among them; a value that is given is taken, and one is made where
none is given (azure-docs azure-functions/function-keys-how-to). A host keeps its keys in memory.

What is unknown, and what this does: how soon an instance notices that a key was made or deleted, and how many
instances there are, are choices of `SiteBehaviour`. Whether the host makes a `default` key again that was
deleted: it does not.
"""

from local.sites.keys import FunctionKeys, SiteBehaviour

__all__ = ["FunctionKeys", "SiteBehaviour"]
