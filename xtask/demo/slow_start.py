"""A module whose import takes two seconds, as behind a slow disk."""

import time

time.sleep(2)
