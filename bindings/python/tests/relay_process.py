"""Starts the real relay as a process of its own and stops it again."""

import os
import re
import subprocess
import tempfile

ADDRESS = re.compile(r"wss?://[0-9a-zA-Z.:\[\]-]+#[0-9a-f]{64}")


class Relay:
    """A relay on a free loopback port; `url` carries the key that pins it."""

    def __init__(self, program=None):
        self.data = tempfile.TemporaryDirectory(prefix="lifeos-relay-")
        program = program or os.environ["LIFEOS_RELAY"]
        self.process = subprocess.Popen(
            [program, "serve", "--data", self.data.name, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.url = self._announced()

    def _announced(self):
        for line in self.process.stdout:
            found = ADDRESS.search(line)
            if found:
                return found.group(0)
        raise RuntimeError(f"the relay ended without saying where it listens: {self.process.wait()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self.data.cleanup()
