"""A stand-in for Dify 0.11.2's api image (API server and worker), for difyfleet's lab.

It answers what the recorded exchanges of the real server show (tests/contract/dify-0.11.2), keeps its state in the real
PostgreSQL and Redis beside it, and fails as the real one does: a setting of the wrong type ends the process, a database
that cannot be reached makes ``GET /console/api/setup`` answer 500 while ``/health`` says ok, Redis down makes login answer 500.
Needs psycopg2 and redis from Debian's packages, nothing from PyPI.
"""

VERSION = "0.11.2"
