"""Reads a file with the library of the product it is for and wants every field back: one that is not known is lost.

usage: known.py dashboard|alerting|action-group FILE
"""

import json
import sys

import yaml
from azure.mgmt.monitor.models import ActionGroupResource
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.alerting import ContactPoint, NotificationPolicy
from grafana_foundation_sdk.models.dashboard import Dashboard


def grafana(kind):
    """Reads and writes by Grafana's schema."""
    return lambda written: json.loads(JSONEncoder().encode(kind.from_json(written)))


def azure(written):
    """Reads and writes as Azure's SDK does before it asks for a deployment."""
    return ActionGroupResource.from_dict(written).serialize()


def parts(kind, document):
    """What is described by a schema in a file of that kind, and how to read and write it."""
    if kind == "dashboard":
        yield document, grafana(Dashboard)
    elif kind == "alerting":
        # Provisioning lists the receivers of a name together.
        for point in document["contactPoints"]:
            for receiver in point["receivers"]:
                yield receiver | {"name": point["name"]}, grafana(ContactPoint)
        for policy in document["policies"]:
            yield {key: value for key, value in policy.items() if key != "orgId"}, grafana(NotificationPolicy)
    elif kind == "action-group":
        for resource in document["resources"]:
            # These are the deployment's.
            deployment = ("type", "apiVersion", "name")
            yield {key: value for key, value in resource.items() if key not in deployment}, azure


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


kind, path = sys.argv[1:]
register_default_plugins()
with open(path, encoding="utf-8") as file:
    # JSON is YAML.
    document = yaml.safe_load(file)
checked = list(parts(kind, document))
problems = [problem for written, read in checked for problem in lost(written, read(written), kind)]
print("\n".join(problems) if checked else f"{path} holds nothing to check")
sys.exit(bool(problems) or not checked)
