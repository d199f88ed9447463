"""Sleep for threads of torch that wait, as in a command; set before torch is imported.

Threads that spin take the cores from the other test processes and the other jobs of a machine.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
