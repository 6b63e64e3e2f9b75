"""The example's hosts for plain pyinfra: `pyinfra inventory/example.py deploy.py`."""

from difyfleet.fleet.inventory import pyinfra_hosts

hosts = pyinfra_hosts(__file__)
