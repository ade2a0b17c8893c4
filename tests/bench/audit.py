"""A whole audit against a bare loop that fetches and decodes the same pages and reads the same ledger.

The emulators are one process; the bare loop and the audit are each a process of their own, over the same
TLS, in the same run. The audit's tables are Azurite's, as they would be Azure's. Rates are lifted: how long
an audit takes under its share of them is a matter of arithmetic.

Usage of a child: python -m tests.bench.audit serve FOLDER RECORDS | bare READY | audit READY
"""

import asyncio
import json
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from clients.arm import DpsPage, LinkedHub, Unknown
from clients.auth import ConnectionString
from clients.clock import SystemClock
from clients.connections import Connections
from clients.dps import API_VERSION, DpsClient
from clients.hubs import HUB_API_VERSION, HubClient, HubShares
from clients.pacing import PacedShare, UnpacedShare
from clients.ports import RateShare, Table
from clients.tables import TableAccount
from lifecycle.audit.hub_listings import hubs as _  # noqa: F401  imports are not what is measured
from lifecycle.audit.job import KIND, Audit
from lifecycle.audit.listings import ENROLLMENTS_PAGE, RECORDS_PAGE
from lifecycle.audit.ports import Audited, Ports
from lifecycle.jobs import JobStore, State, Terms, tick
from lifecycle.rates import Rate, Rates
from local.azurite import azurite
from local.dps.limits import UNTHROTTLED
from local.dps.seed import seed
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.iothub.service import HubService
from local.serve import serve
from local.tls import CertificateAuthority
from local.world import Journal, World
from provisioning.hubs import HubKey, hub_key
from tests.bench.measure import ROOT, Amount, Ratio, Results, process

