"""Take the place of the name server on 127.0.0.1, never answer, and become the command that the words name."""

import os
import socket
import sys

deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
deaf.bind(("127.0.0.1", 53))
deaf.set_inheritable(True)
os.execv(sys.argv[1], sys.argv[1:])
