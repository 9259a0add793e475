"""Reads a dashboard by Grafana's own schema and wants every field of it back: one that the schema does not know is lost.

usage: dashboard.py FILE
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(wanted, found, place):
    """The places of `wanted` that `found` lacks or has otherwise."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from lost(value, found.get(key), f"{place}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found)):
            yield from lost(one, other, f"{place}[{index}]")
    elif wanted != found and wanted not in ({}, []):
        yield f"{place}: {json.dumps(wanted)} became {json.dumps(found)}"


register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    written = json.load(file)
read = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
problems = list(lost(written, read, "dashboard"))
print("\n".join(problems))
sys.exit(bool(problems))
