"""The lab's hosts for plain pyinfra: `pyinfra inventory/lab.py deploy.py`."""

from difyfleet.fleet.inventory import pyinfra_hosts

hosts = pyinfra_hosts(__file__)
