"""A module whose import does not come to an end, as behind a file system that has gone away."""

import time

while True:
    time.sleep(1)
