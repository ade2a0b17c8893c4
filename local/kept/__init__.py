"""What a stack remembers between runs, in a folder that only its owner may read.

`services.jsonl` holds the provisioning service with its enrollments, keys, records, policies and CA
certificates, the hubs with their devices, twins and keys, the vault with its secrets and the events that
are still to come, the ports, and how far the clock was moved. It is written as a whole when the stack
stops, or not at all: a stack that is killed leaves the state of its last start. Beside it lie the folders
in which the Functions host, Azurite and the certificate authority keep their own files.

Not kept: registrations under way (their records stay `assigning`), counts of throttles, the journal,
faults, switches, continuation tokens, and deliveries of events.
"""

from local.kept.file import Damaged
from local.kept.head import Head, KeptHub
from local.kept.services import Services, fill, lines
from local.kept.store import InUse, Store

__all__ = ["Damaged", "Head", "InUse", "KeptHub", "Services", "Store", "fill", "lines"]
