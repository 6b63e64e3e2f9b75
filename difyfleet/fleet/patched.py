"""Import this before anything that opens sockets: pyinfra runs on gevent."""

import sys

from gevent import monkey

if not monkey.is_module_patched("socket"):
    # ssl imported earlier (by requests in another program) only matters for programs that then use TLS from both worlds
    monkey.patch_all(ssl="ssl" not in sys.modules)
