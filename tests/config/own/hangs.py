"""A module that waits for ever for what does not come."""

import threading

threading.Event().wait()
