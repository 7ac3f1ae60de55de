# What `python -c` is given: it takes the other files from its input. It must be read by every Python, to say that one is too old.
import sys

if sys.version_info < (3, 9):
    sys.stderr.write("Python 3.9 or later is needed, and this is %d.%d\n" % sys.version_info[:2])
    sys.exit(3)

import json
import os
import types

# Of a descriptor of its own: 0 is given to the functions' files, as an empty input.
requests = os.fdopen(os.dup(0), "rb")
for name, source in json.loads(requests.read(int(requests.readline())).decode()):
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name + ".py", "exec"), module.__dict__)
module.main(requests)
