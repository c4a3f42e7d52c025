"""Runs the scripts of clients, each against each server of LLORCH_SERVERS.

In one process: importing a client takes seconds, its script a fraction of one. A line
`run SCRIPT SERVER` precedes what a script prints.
"""

import json
import os
import runpy
import sys

for script in sys.argv[1:]:
    for server in json.loads(os.environ["LLORCH_SERVERS"]):
        os.environ["LLORCH_URL"] = server["url"]
        os.environ["LLORCH_TOKEN"] = server["token"]
        # It reads the variables when it is imported.
        sys.modules.pop("support", None)
        print("run", script, server["name"], flush=True)
        runpy.run_path(script)
