"""Importing this starts a thread, as importing a library may."""

import threading
import time

threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
