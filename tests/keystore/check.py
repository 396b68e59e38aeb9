"""Moves a device's key into a real Secret Service and out again, with the real program.

usage: python3 tests/keystore/check.py PATH_OF_LIFEOS

The program has to be built with the feature `keystore`; dbus, gnome-keyring and libsecret-tools have to be installed.
Everything lies in a temporary folder, the keyring included, and on a message bus that starts no service by itself.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

BUS = """<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"""
MAGIC = b"LSDEVKEY"
PLAIN, ELSEWHERE = 1, 3


class Scene:
    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)
        self.home = self.folder / "home"
        data, run = self.folder / "data", self.folder / "run"
        for made in (data, run):
            made.mkdir(mode=0o700)
        self.env = dict(os.environ, XDG_DATA_HOME=str(data), XDG_RUNTIME_DIR=str(run), HOME=str(self.folder))

    def keyring_starts(self):
        """A daemon whose default keyring a password opens; the same files every time."""
        command = ["gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground", "--replace"]
        self.daemon = subprocess.Popen(
            command, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.daemon.stdin.write(b"password of the keyring")
        self.daemon.stdin.close()
        wait = ["gdbus", "wait", "--session", "--timeout", "20", "org.freedesktop.secrets"]
        subprocess.run(wait, env=self.env, check=True)

    def keyring_ends(self):
        self.daemon.terminate()
        self.daemon.wait()

    def run(self, *args):
        command = [self.program, "--home", str(self.home), "--json", *args]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)

    def said(self, *args):
        done = self.run(*args)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None

    def key_file(self):
        return (self.home / "device.key").read_bytes()

    def form(self):
        assert self.key_file().startswith(MAGIC)
        return self.key_file()[len(MAGIC)]


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(program, folder)
        scene.said("init")
        seed = scene.key_file()[9:41]
        assert scene.form() == PLAIN

        refused = scene.run("key", "move", "keystore")
        assert refused.returncode == 1, "without a keyring the key stays where it is"
        assert scene.form() == PLAIN
        print("no service: refused, the key stays in its file")

        scene.keyring_starts()
        assert scene.said("key", "move", "keystore")["place"] == "keystore"
        assert scene.form() == ELSEWHERE and seed not in scene.key_file()
        scene.said("note", "add", "written with a key from the keyring", "--text", "text")
        print("moved in: another process opens the home with it")

        scene.keyring_ends()
        refused = scene.run("note", "list")
        assert refused.returncode == 1 and "keystore" in refused.stdout + refused.stderr, refused
        print("service gone: refused with a word about the keystore")

        scene.keyring_starts()
        notes = scene.said("note", "list")
        assert "written with a key from the keyring" in json.dumps(notes)
        print("service back: the entry outlived the daemon")

        assert scene.said("key", "move", "file")["place"] == "file"
        assert scene.form() == PLAIN and seed in scene.key_file()
        found = subprocess.run(
            ["secret-tool", "search", "--all", "service", "lifeos"], env=scene.env, capture_output=True, text=True
        )
        assert "device-key-" not in found.stdout + found.stderr, "the entry is gone"
        scene.keyring_ends()
        scene.said("note", "list")
        print("moved out: no service is asked any more, and nothing is left in it")
    print("keystore: 5 checks held")


def on_a_bus(program):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(BUS)
        config.flush()
        bus = ["dbus-run-session", "--config-file", config.name, "--"]
        return subprocess.call([*bus, sys.executable, __file__, "--on-the-bus", program])


if __name__ == "__main__":
    if sys.argv[1] == "--on-the-bus":
        main(sys.argv[2])
    else:
        sys.exit(on_a_bus(os.path.abspath(sys.argv[1])))
