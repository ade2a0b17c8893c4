"""The allocation policy: its document, and the compiled form that decisions read.

Nothing here imports the document's model (pydantic, a third of a cold start) until a document is read.
"""

from allocation.policy.compile import EVERY_HUB_ALIKE, CompiledPolicy, Rule, compile_policy

__all__ = ["EVERY_HUB_ALIKE", "CompiledPolicy", "Rule", "compile_policy"]
