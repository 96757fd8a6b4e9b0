"""An S3 server on a free port of loopback, which it prints, with the bucket `bucket`. It ends with its standard input."""

import os
import sys
import threading
import urllib.request

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


def end_with_input():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_input, daemon=True).start()
application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
serving = threading.Thread(target=server.serve_forever)
serving.start()
urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{server.server_port}/bucket", method="PUT"))
print(server.server_port, flush=True)
serving.join()
