"""Writes what the pod finds mounted, the configuration and its secrets, into a directory."""

import pathlib
import sys

import yaml

directory = pathlib.Path(sys.argv[1])
directory.mkdir(parents=True, exist_ok=True)


def manifest(name):
    return yaml.safe_load(pathlib.Path("packaging/kubernetes", name).read_text())


for name, text in manifest("secret.yaml")["stringData"].items():
    secret = directory / name
    secret.touch(mode=0o600)
    secret.write_text(text)
configuration = manifest("configuration.yaml")["data"]["dingest.yaml"]
mounts = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
(secrets,) = [mount["mountPath"] for mount in mounts if mount["name"] == "secrets"]
if secrets not in configuration:
    sys.exit(f"the configuration reads no secret below {secrets}")
(directory / "dingest.yaml").write_text(configuration.replace(secrets, str(directory.absolute())))
